// Package loop runs one serial event loop per cluster on a pool of workers that all clusters of the process share.
//
// A Loop takes two kinds of work. Posted functions come from any goroutine (a commit, a runtime event, a timer that fired) and
// always run before the next reconcile, so a reconcile sees every commit that was made before it began, its own included. Keyed
// queues hold what is to be reconciled: level-driven, each key at most once, in the order of first request, with exponential
// back-off after an error. Every unit of work is a step with a number.
//
// A loop without work costs nothing but its memory: it has no goroutine, and its timers are the clock's. Workers are started when
// there is work and end when there is none.
//
// The package does not know Kubernetes, the store or what a key stands for. It never reads the wall clock for anything that a
// component can observe; it only measures how long a loop has held a worker, to share the workers fairly.
//
// Lock order: Loop.mu before Pool.mu. Neither is held while work runs.
package loop
