package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	width  = 18 * vg.Centimeter
	height = 11 * vg.Centimeter
)

// colors tell contestants apart, also for the colour-blind (Okabe and Ito).
var colors = []color.RGBA{{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff}}

// spread is medians with their bars, from lowest to highest.
type spread struct {
	plotter.XYs
	plotter.YErrors
}

// drawScale makes a plot of each series: what a unit costs, by how much there is.
func drawScale(dir string, text []byte) error {
	report, err := decode[scaleReport](text)
	if err != nil {
		return err
	}
	for _, s := range report.Series {
		p := plot.New()
		p.Title.Text = s.What
		p.Title.TextStyle.Font.Size = vg.Points(9)
		p.X.Label.Text, p.Y.Label.Text = s.Name, "CPU time of the server for a "+s.Per+" (us)"
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
		p.Add(plotter.NewGrid())
		p.Legend.Top, p.Legend.Left = true, true
		lowest, highest := math.Inf(1), 0.0
		for i, entry := range s.Entries {
			points := spread{}
			for step, n := range s.Steps {
				if step >= len(s.Rounds) || len(s.Rounds[step][entry]) == 0 {
					return fmt.Errorf("%s: no figures of %s at %d", s.Name, entry, n)
				}
				median, low, high := medianOf(s.Rounds[step][entry], func(f figure) float64 { return f.CPU })
				if low <= 0 {
					return fmt.Errorf("%s of %s at %d: no time at all", s.Name, entry, n)
				}
				points.XYs = append(points.XYs, plotter.XY{X: float64(n), Y: median})
				points.YErrors = append(points.YErrors, struct{ Low, High float64 }{median - low, high - median})
				lowest, highest = min(lowest, low), max(highest, high)
			}
			line, dots, err := plotter.NewLinePoints(points.XYs)
			if err != nil {
				return err
			}
			bars, err := plotter.NewYErrorBars(points)
			if err != nil {
				return err
			}
			line.Color, dots.Color, bars.Color = colors[i%len(colors)], colors[i%len(colors)], colors[i%len(colors)]
			line.Width, dots.Shape = vg.Points(1.5), draw.CircleGlyph{}
			p.Add(line, dots, bars)
			p.Legend.Add(entry, line, dots)
		}
		// Whole decades, so that a flat line looks flat.
		p.Y.Min, p.Y.Max = decade(lowest, math.Floor), decade(highest, math.Ceil)*10
		if err := p.Save(width, height, filepath.Join(dir, "scale-"+s.Name+".svg")); err != nil {
			return err
		}
	}
	return nil
}

// decade rounds to a power of ten.
func decade(v float64, round func(float64) float64) float64 {
	return math.Pow(10, round(math.Log10(v)))
}

// drawCache makes a plot of how many times as fast the gateway answers as the
// kube-apiserver.
func drawCache(dir string, text []byte) error {
	report, err := decode[cacheReport](text)
	if err != nil {
		return err
	}
	var bars []bar
	for _, s := range report.Scenarios {
		direct, gateway := s.Rounds["kube-apiserver"], s.Rounds["gateway"]
		if len(direct) == 0 || len(gateway) == 0 {
			continue
		}
		wall := func(f figure) float64 { return f.Wall }
		slow, _, _ := medianOf(direct, wall)
		fast, _, _ := medianOf(gateway, wall)
		if slow > 0 && fast > 0 {
			bars = append(bars, bar{s.Name, slow / fast})
		}
	}
	title := fmt.Sprintf("Times as fast as the kube-apiserver, %d pods of 8 KB, %d nodes", report.Pods, report.Nodes)
	return drawBars(filepath.Join(dir, "cache.svg"), title, bars, plot.LogScale{}, plot.LogTicks{Prec: -1}, 0.5)
}

// drawForward makes a plot of what it costs to forward, for each workload.
func drawForward(dir string, text []byte) error {
	report, err := decode[forwardReport](text)
	if err != nil {
		return err
	}
	if len(report.Workloads) == 0 {
		return errors.New("nothing to draw")
	}
	for i, w := range report.Workloads {
		var bars []bar
		for _, s := range w.Summary {
			if !strings.Contains(s.Name, "direct") {
				bars = append(bars, bar{s.Name, s.CPU})
			}
		}
		file := filepath.Join(dir, fmt.Sprintf("forward-%d.svg", i+1))
		if err := drawBars(file, w.Name+": CPU time to forward a request (us)", bars, plot.LinearScale{}, plot.DefaultTicks{}, 0); err != nil {
			return err
		}
	}
	return nil
}

// drawDay makes a plot of what the kube-apiservers need in each phase.
func drawDay(dir string, text []byte) error {
	report, err := decode[dayReport](text)
	if err != nil {
		return err
	}
	var phases, ways []string
	rounds := map[string][]dayPhase{}
	name := func(phase, way string) string { return phase + ", clients at the " + way }
	for _, p := range report.Phases {
		if !slices.Contains(phases, p.Phase) {
			phases = append(phases, p.Phase)
		}
		if !slices.Contains(ways, p.Way) {
			ways = append(ways, p.Way)
		}
		rounds[name(p.Phase, p.Way)] = append(rounds[name(p.Phase, p.Way)], p)
	}
	var bars []bar
	for _, phase := range phases {
		for _, way := range ways {
			if those := rounds[name(phase, way)]; those != nil {
				used, _, _ := medianOf(those, func(p dayPhase) float64 { return p.UpstreamCPU })
				bars = append(bars, bar{name(phase, way), used})
			}
		}
	}
	return drawBars(filepath.Join(dir, "day.svg"), "10,000 nodes in miniature: all kube-apiservers' CPU (cores)", bars, plot.LinearScale{}, plot.DefaultTicks{}, 0)
}

type bar struct {
	name  string
	value float64
}

// drawBars makes a plot of bars from left to right, the first on top.
func drawBars(file, title string, bars []bar, scale plot.Normalizer, ticks plot.Ticker, from float64) error {
	if len(bars) == 0 {
		return fmt.Errorf("%s: nothing to draw", file)
	}
	slices.Reverse(bars)
	p := plot.New()
	p.Title.Text = title
	p.X.Scale, p.X.Tick.Marker, p.X.Min = scale, ticks, from
	var names []string
	for i, b := range bars {
		names = append(names, b.name)
		y := float64(i)
		box, err := plotter.NewPolygon(plotter.XYs{{X: from, Y: y - 0.35}, {X: b.value, Y: y - 0.35}, {X: b.value, Y: y + 0.35}, {X: from, Y: y + 0.35}})
		if err != nil {
			return err
		}
		box.Color, box.LineStyle.Width = colors[0], 0
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: b.value, Y: y - 0.2}}, Labels: []string{fmt.Sprintf(" %.3g", b.value)}})
		if err != nil {
			return err
		}
		p.Add(box, label)
		p.X.Max = max(p.X.Max, b.value)
	}
	if from > 0 {
		p.X.Max *= 2
	} else {
		p.X.Max *= 1.1
	}
	p.NominalY(names...)
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	return p.Save(width, vg.Length(len(bars))*0.7*vg.Centimeter+3*vg.Centimeter, file)
}
