// Package wasm runs WebAssembly modules of strangers: it meters them, bounds their memory and starts them fast. It stands on wazero's compiler
// and knows nothing of processes, files or labs.
//
// # Metering
//
// A guest that never calls the host would block Go's collector and could not be stopped. So every module is rewritten before it is compiled:
// its code takes fuel from a global at function entries and loop heads, in proportion to the code that follows, bulk operations by their
// size; when the fuel is spent it calls the host, which asks the Guest for the next slice. There the kernel schedules, throttles and kills.
//
// # Images
//
// A reactor (exports _initialize, prepare and run) is initialised once; its memory and globals are kept as an image. Each start maps the
// image copy-on-write and calls run, so that a program that needs 100 ms to initialise starts in 1 ms, and what it did not change is shared.
package wasm
