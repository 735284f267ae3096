// Package kubelet is the agent of one node: it brings the node's containers to what the pods bound to it ask for, and reports.
//
// Each pod has a worker: a record of what the runtime was asked for and has answered, and a step function that looks at the pod, the
// record and the clock and decides what to do next. At most one runtime call of a pod is under way at a time; it runs away from the
// cluster's loop and its answer comes back as a step. Status is written when a pod has nothing left to do at once, and only when it
// differs from what the API server shows.
//
// The package does not know how containers are run (Runtime is filled by the lab, by package null in simulations) and nothing of the
// other components. Everything but the streaming calls (Logs, Exec, Attach, PortForward) runs in the cluster's loop.
//
// Lock order: Kubelet.mu guards only what the streaming calls look up.
package kubelet
