package consistency

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

var (
	// errLinear is for a register whose reads no order of its operations explains in
	// which each takes effect between its call and its return.
	errLinear = errors.New("not linearizable")
	// errUndecided is for one of which that was not found out.
	errUndecided = errors.New("not decided")
)

// absent is the value of a register that is not there.
const absent = ""

// access is what an operation does to a register: it writes a value, or reads one. To
// delete it is to write absent.
type access struct {
	register, value string
	write           bool
}

// never is when a write returns whose client was not told what became of it: it may
// take effect at any time after its call.
const never = math.MaxInt64

// registers is the model of an object that holds one value.
var registers = porcupine.Model{
	Init: func() any { return absent },
	Step: func(state, input, output any) (bool, any) {
		if a := input.(access); a.write {
			return true, a.value
		}
		return output == state, state
	},
}

// decideWithin bounds the search for an order of one register's operations.
const decideWithin = 20 * time.Second

// judgeRegisters returns which registers are not linearizable.
func judgeRegisters(operations []porcupine.Operation) (wrong []error) {
	byRegister := map[string][]porcupine.Operation{}
	for _, o := range operations {
		name := o.Input.(access).register
		byRegister[name] = append(byRegister[name], o)
	}
	for _, name := range slices.Sorted(maps.Keys(byRegister)) {
		switch porcupine.CheckOperationsTimeout(registers, byRegister[name], decideWithin) {
		case porcupine.Illegal:
			wrong = append(wrong, fmt.Errorf("%w: the %d operations of %s", errLinear, len(byRegister[name]), name))
		case porcupine.Unknown:
			wrong = append(wrong, fmt.Errorf("%w within %s: the %d operations of %s", errUndecided, decideWithin, len(byRegister[name]), name))
		}
	}
	return wrong
}

func TestRegistersThatAreNotLinearizableAreTold(t *testing.T) {
	write := func(call, end int64, value string) porcupine.Operation {
		return porcupine.Operation{Input: access{"x", value, true}, Call: call, Return: end}
	}
	read := func(call, end int64, value string) porcupine.Operation {
		return porcupine.Operation{Input: access{register: "x"}, Output: value, Call: call, Return: end}
	}
	for name, tc := range map[string]struct {
		operations []porcupine.Operation
		want       error
	}{
		"one after the other":                       {[]porcupine.Operation{write(1, 2, "a"), read(3, 4, "a"), write(5, 6, "b"), read(7, 8, "b")}, nil},
		"not there, and deleted":                    {[]porcupine.Operation{read(1, 2, absent), write(3, 4, "a"), write(5, 6, absent), read(7, 8, absent)}, nil},
		"a read beside a write, before it":          {[]porcupine.Operation{write(1, 2, "a"), write(3, 9, "b"), read(4, 5, "a")}, nil},
		"a read beside a write, behind it":          {[]porcupine.Operation{write(1, 2, "a"), write(3, 9, "b"), read(4, 5, "b")}, nil},
		"two writes beside each other":              {[]porcupine.Operation{write(1, 5, "a"), write(2, 6, "b"), read(7, 8, "a")}, nil},
		"a lost write, never applied":               {[]porcupine.Operation{write(1, 2, "a"), write(3, never, "b"), read(7, 8, "a")}, nil},
		"a lost write, applied at once":             {[]porcupine.Operation{write(1, 2, "a"), write(3, never, "b"), read(7, 8, "b")}, nil},
		"a lost write, applied after another":       {[]porcupine.Operation{write(1, never, "a"), write(3, 4, "b"), read(5, 6, "b"), read(7, 8, "a")}, nil},
		"a read of what was overwritten":            {[]porcupine.Operation{write(1, 2, "a"), write(3, 4, "b"), read(5, 6, "a")}, errLinear},
		"a read of what was deleted":                {[]porcupine.Operation{write(1, 2, "a"), write(3, 4, absent), read(5, 6, "a")}, errLinear},
		"not found after it was made":               {[]porcupine.Operation{write(1, 2, "a"), read(3, 4, absent)}, errLinear},
		"a read that goes back, beside a write":     {[]porcupine.Operation{write(1, 2, "a"), write(3, 9, "b"), read(4, 5, "b"), read(6, 7, "a")}, errLinear},
		"a value that nobody wrote":                 {[]porcupine.Operation{write(1, 2, "a"), read(3, 4, "c")}, errLinear},
		"a lost write, applied before it was sent":  {[]porcupine.Operation{write(1, 2, "a"), read(3, 4, "b"), write(5, never, "b")}, errLinear},
		"a lost write, applied twice":               {[]porcupine.Operation{write(1, never, "a"), read(2, 3, "a"), write(4, 5, "b"), read(6, 7, "b"), read(8, 9, "a")}, errLinear},
		"a register that is right beside one wrong": {[]porcupine.Operation{{Input: access{"y", "a", true}, Call: 1, Return: 2}, write(1, 2, "a"), read(3, 4, "b")}, errLinear},
	} {
		checkWrong(t, name, judgeRegisters(tc.operations), tc.want)
	}
}
