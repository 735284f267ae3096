// Package informer is what the components of one cluster's loop share: the changes they are fed, an index of the pods, and the
// identity under which each of them writes.
//
// The cluster's commits are the input. The loop takes them in order, turns each into a Change, applies it to the Index and hands it
// to the components; a component then reads other objects through store.Reader, which shows the newest state. Since every commit is
// taken in before a reconcile begins, a reconcile sees its own earlier writes and needs no expectations.
//
// The package does not know what the components do. It has no locks: everything in it runs in the cluster's loop.
package informer
