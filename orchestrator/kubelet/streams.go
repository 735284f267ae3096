package kubelet

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"github.com/drydock-labs/drydock/orchestrator/informer"
)

// The methods of this file are what the API server asks for on behalf of a client (apiserver.Kubelet). They run on the caller's
// goroutine and only look the pod's ids up under mu.

// ids are what the streaming calls need of a container.
type ids struct {
	sandbox, current, previous string
	ip                         netip.Addr
	running                    bool
	why                        string // why there is no container
}

// lookUp finds a container of a pod on this node.
func (k *Kubelet) lookUp(ns, pod, name string) (ids, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.pods[k.by[informer.KeyOf(ns, pod)]]
	if w == nil {
		return ids{}, apierrors.NewNotFound(informer.Pods, pod)
	}
	view := w.view
	i, ok := view.containers[name]
	if !ok {
		return ids{}, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is not available", name, pod))
	}
	return i, nil
}

// view is a copy of a pod's ids for other goroutines. It is replaced under Kubelet.mu, never changed.
type view struct {
	sandbox    string
	ip         netip.Addr
	containers map[string]ids
}

// expose brings the view up to date; called in the loop after each step.
func (k *Kubelet) expose(w *worker) {
	if w.sandboxID == "" && w.view.sandbox == "" {
		return
	}
	v := view{sandbox: w.sandboxID, ip: w.ip, containers: make(map[string]ids, len(w.containers))}
	same := v.sandbox == w.view.sandbox && len(w.view.containers) == len(w.containers)
	for name, c := range w.containers {
		i := ids{sandbox: w.sandboxID, current: c.id, previous: c.previousID, ip: w.ip, running: c.state == running, why: c.reason}
		v.containers[name] = i
		same = same && w.view.containers[name] == i
	}
	if same {
		return
	}
	k.mu.Lock()
	w.view = v
	k.mu.Unlock()
}

func (k *Kubelet) running(ns, pod, container string) (ids, error) {
	i, err := k.lookUp(ns, pod, container)
	if err != nil {
		return i, err
	}
	if !i.running {
		return i, fmt.Errorf("container not found (%q)", container)
	}
	return i, nil
}

// Exec runs a command in a container. A command that ends with another code than 0 gives an exec.CodeExitError.
func (k *Kubelet) Exec(ctx context.Context, ns, pod, container string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	i, err := k.running(ns, pod, container)
	if err != nil {
		return err
	}
	code, err := k.rt.Exec(ctx, i.current, cmd, streams(in, out, errOut, tty, resize))
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

func streams(in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) IO {
	s := IO{Stdin: in, TTY: tty, Resize: resize}
	if out != nil {
		s.Stdout = out
	}
	if errOut != nil {
		s.Stderr = errOut
	}
	return s
}

// Attach joins the streams of a container's first process.
func (k *Kubelet) Attach(ctx context.Context, ns, pod, container string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	i, err := k.running(ns, pod, container)
	if err != nil {
		return err
	}
	return k.rt.Attach(ctx, i.current, streams(in, out, errOut, tty, resize))
}

// PortForward joins stream with a TCP connection to the pod's port, seen from inside the pod.
func (k *Kubelet) PortForward(ctx context.Context, ns, pod string, port int32, stream io.ReadWriteCloser) error {
	k.mu.Lock()
	w := k.pods[k.by[informer.KeyOf(ns, pod)]]
	var v view
	if w != nil {
		v = w.view
	}
	k.mu.Unlock()
	if w == nil || v.sandbox == "" {
		return fmt.Errorf("pod %s_%s is not running on node %s", pod, ns, k.cfg.Node.Name)
	}
	conn, err := k.rt.Dial(ctx, v.sandbox, netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
	if err != nil {
		return fmt.Errorf("failed to connect to localhost:%d inside the pod: %w", port, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		_, _ = io.Copy(conn, stream)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		} else {
			conn.Close()
		}
	}()
	_, err = io.Copy(stream, conn)
	stream.Close()
	conn.Close()
	wg.Wait()
	return err
}

// Logs copies a container's log to w, as the pod's log subresource documents its options.
func (k *Kubelet) Logs(ctx context.Context, ns, pod string, opts *v1.PodLogOptions, w io.Writer) error {
	i, err := k.lookUp(ns, pod, opts.Container)
	if err != nil {
		return err
	}
	id := i.current
	if opts.Previous {
		if id = i.previous; id == "" {
			return apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", opts.Container, pod))
		}
	} else if id == "" {
		id = i.previous // between two runs the last log is what there is
	}
	if id == "" {
		why := i.why
		if why == "" {
			why = "ContainerCreating"
		}
		return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", opts.Container, pod, why))
	}
	o := LogOptions{Follow: opts.Follow, Timestamps: opts.Timestamps, Tail: -1}
	if opts.TailLines != nil {
		o.Tail = *opts.TailLines
	}
	if opts.LimitBytes != nil {
		o.Limit = *opts.LimitBytes
	}
	if opts.SinceTime != nil {
		o.Since = opts.SinceTime.Time
	} else if opts.SinceSeconds != nil {
		o.Since = k.Loop.Now().Add(-time.Duration(*opts.SinceSeconds) * time.Second)
	}
	stdout, stderr := w, w
	if s := opts.Stream; s != nil && *s == v1.LogStreamStdout {
		stderr = io.Discard
	} else if s != nil && *s == v1.LogStreamStderr {
		stdout = io.Discard
	}
	return k.rt.Logs(ctx, id, o, stdout, stderr)
}
