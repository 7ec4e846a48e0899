//go:build race

package attack

// raceFactor is by how much more memory a gateway with the race detector may
// take, which remembers who touched what. Most that was seen is 203 MiB of readers and
// 88 MiB of floods on a busy machine; without the detector it is 36 and 12.
const raceFactor = 2
