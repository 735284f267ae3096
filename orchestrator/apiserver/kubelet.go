package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	api "k8s.io/kubernetes/pkg/apis/core"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
	registrypod "k8s.io/kubernetes/pkg/registry/core/pod"
	podrest "k8s.io/kubernetes/pkg/registry/core/pod/rest"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Kubelet is what the API server asks of a node's agent. Exec and Attach end with nil when the program ended with 0, with an
// exec.CodeExitError (k8s.io/utils/exec) for another exit code.
type Kubelet interface {
	Exec(ctx context.Context, ns, pod, container string, cmd []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error
	Attach(ctx context.Context, ns, pod, container string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error
	PortForward(ctx context.Context, ns, pod string, port int32, stream io.ReadWriteCloser) error
	// Logs writes the container's log and, with Follow, goes on until the container ends or ctx is done. An error before the first byte is
	// what the client reads.
	Logs(ctx context.Context, ns, pod string, opts *v1.PodLogOptions, w io.Writer) error
}

// streamIdle ends a stream on which nothing happens, streamCreation one whose client does not open its streams; the kubelet's defaults.
const (
	streamIdle     = 4 * time.Hour
	streamCreation = 30 * time.Second
)

// protocols are the SPDY subprotocols served. v5.channel.k8s.io is WebSocket's.
var protocols = []string{"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"}

// kubeletConnections gives upstream's log storage a transport to the node's kubelet.
type kubeletConnections struct{}

var _ kubeletclient.ConnectionInfoGetter = kubeletConnections{}

// GetConnectionInfo implements kubeletclient.ConnectionInfoGetter.
func (kubeletConnections) GetConnectionInfo(ctx context.Context, node types.NodeName) (*kubeletclient.ConnectionInfo, error) {
	k, err := kubeletOf(ctx, string(node))
	if err != nil {
		return nil, err
	}
	t := kubeletTransport{k}
	return &kubeletclient.ConnectionInfo{Scheme: "https", Hostname: string(node), Port: "10250", Transport: t, InsecureSkipTLSVerifyTransport: t}, nil
}

func kubeletOf(ctx context.Context, node string) (Kubelet, error) {
	c, ok := ClusterFrom(ctx)
	if !ok {
		return nil, errNoCluster
	}
	if c.cfg.Kubelet != nil {
		if k, ok := c.cfg.Kubelet(node); ok {
			return k, nil
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("dial tcp: lookup %s: the node's kubelet does not answer", node))
}

// kubeletTransport answers GET /containerLogs/NAMESPACE/POD/CONTAINER from a Kubelet.
type kubeletTransport struct{ kubelet Kubelet }

// RoundTrip implements http.RoundTripper.
func (t kubeletTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	parts := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	if len(parts) != 4 || parts[0] != "containerLogs" {
		return nil, fmt.Errorf("kubelet: nothing is served at %s", req.URL.Path)
	}
	opts := &v1.PodLogOptions{}
	if err := legacyscheme.ParameterCodec.DecodeParameters(req.URL.Query(), v1.SchemeGroupVersion, opts); err != nil {
		return nil, err
	}
	opts.Container = parts[3]
	body, w := io.Pipe()
	first := &firstByte{w: w, wrote: make(chan struct{})}
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(req.Context())
	go func() {
		err := t.kubelet.Logs(ctx, parts[1], parts[2], opts, first)
		done <- err
		w.CloseWithError(err)
	}()
	res := &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: -1,
		Header: http.Header{"Content-Type": {"text/plain"}}, Body: &closer{body, cancel}}
	if opts.Follow {
		return res, nil
	}
	select {
	case <-first.wrote:
	case err := <-done:
		if err != nil {
			cancel()
			res.StatusCode, res.Body = statusOf(err), io.NopCloser(strings.NewReader(err.Error()))
		}
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
	return res, nil
}

func statusOf(err error) int {
	var s apierrors.APIStatus
	if errors.As(err, &s) && s.Status().Code != 0 {
		return int(s.Status().Code)
	}
	return http.StatusBadRequest // as a kubelet answers for a container that has no log
}

// firstByte tells when the first byte is about to be written.
type firstByte struct {
	w     io.Writer
	begun bool
	wrote chan struct{}
}

func (f *firstByte) Write(b []byte) (int, error) {
	if !f.begun {
		f.begun = true
		close(f.wrote)
	}
	return f.w.Write(b)
}

type closer struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (c *closer) Close() error {
	c.cancel()
	return c.PipeReader.Close()
}

// streamer serves one pod's streams from its kubelet.
type streamer struct {
	kubelet Kubelet
	ns      string
}

func (s streamer) ExecInContainer(ctx context.Context, name, _, container string, cmd []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return s.kubelet.Exec(ctx, s.ns, name, container, cmd, in, out, err, tty, resize)
}

func (s streamer) AttachContainer(ctx context.Context, name, _, container string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return s.kubelet.Attach(ctx, s.ns, name, container, in, out, err, tty, resize)
}

func (s streamer) PortForward(ctx context.Context, name, _ string, port int32, stream io.ReadWriteCloser) error {
	return s.kubelet.PortForward(ctx, s.ns, name, port, stream)
}

// target finds the pod, checks that a stream may go to it, and returns its kubelet.
func target(ctx context.Context, pods registrypod.ResourceGetter, name string) (*api.Pod, streamer, error) {
	obj, err := pods.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, streamer{}, err
	}
	pod := obj.(*api.Pod)
	if pod.Spec.NodeName == "" {
		return nil, streamer{}, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	k, err := kubeletOf(ctx, pod.Spec.NodeName)
	return pod, streamer{k, pod.Namespace}, err
}

// overSPDY serves a stream unless the client asks for a WebSocket: that upgrade is refused, and clients fall back to SPDY by themselves.
func overSPDY(serve func(w http.ResponseWriter, req *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if wsstream.IsWebSocketRequest(req) {
			refuse(w, req, failure(http.StatusBadRequest, metav1.StatusReasonBadRequest,
				"streams over WebSocket are not served here, only over SPDY/3.1; kubectl and client-go fall back to it by themselves"))
			return
		}
		serve(w, req)
	})
}

// execREST is pods/exec. Upstream's Connect would proxy to the kubelet's port; ours calls the kubelet.
type execREST struct{ *podrest.ExecREST }

// Connect implements rest.Connecter.
func (r *execREST) Connect(ctx context.Context, name string, opts runtime.Object, _ rest.Responder) (http.Handler, error) {
	o, ok := opts.(*api.PodExecOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", opts)
	}
	if len(o.Command) == 0 {
		return nil, apierrors.NewBadRequest("you must specify at least one command for the container")
	}
	// Upstream's location validates the container and the pod's state, and fills in the only container.
	_, _, err := registrypod.ExecLocation(ctx, r.Store, kubeletConnections{}, name, o)
	if err != nil {
		return nil, err
	}
	pod, s, err := target(ctx, r.Store, name)
	if err != nil {
		return nil, err
	}
	container := containerOf(pod, o.Container)
	streams := &remotecommand.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr && !o.TTY, TTY: o.TTY}
	return overSPDY(func(w http.ResponseWriter, req *http.Request) {
		remotecommand.ServeExec(w, req.WithContext(ctx), s, name, string(pod.UID), container, o.Command, streams, streamIdle, streamCreation, protocols)
	}), nil
}

// containerOf is the container that a stream without a name goes to: the only one, as upstream's location has checked.
func containerOf(pod *api.Pod, name string) string {
	if name == "" && len(pod.Spec.Containers) > 0 {
		return pod.Spec.Containers[0].Name
	}
	return name
}

// attachREST is pods/attach.
type attachREST struct{ *podrest.AttachREST }

// Connect implements rest.Connecter.
func (r *attachREST) Connect(ctx context.Context, name string, opts runtime.Object, _ rest.Responder) (http.Handler, error) {
	o, ok := opts.(*api.PodAttachOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", opts)
	}
	if _, _, err := registrypod.AttachLocation(ctx, r.Store, kubeletConnections{}, name, o); err != nil {
		return nil, err
	}
	pod, s, err := target(ctx, r.Store, name)
	if err != nil {
		return nil, err
	}
	container := containerOf(pod, o.Container)
	streams := &remotecommand.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr && !o.TTY, TTY: o.TTY}
	return overSPDY(func(w http.ResponseWriter, req *http.Request) {
		remotecommand.ServeAttach(w, req.WithContext(ctx), s, name, string(pod.UID), container, streams, streamIdle, streamCreation, protocols)
	}), nil
}

// portForwardREST is pods/portforward.
type portForwardREST struct{ *podrest.PortForwardREST }

// Connect implements rest.Connecter.
func (r *portForwardREST) Connect(ctx context.Context, name string, opts runtime.Object, _ rest.Responder) (http.Handler, error) {
	o, ok := opts.(*api.PodPortForwardOptions)
	if !ok {
		return nil, fmt.Errorf("invalid options object: %#v", opts)
	}
	if _, _, err := registrypod.PortForwardLocation(ctx, r.Store, kubeletConnections{}, name, o); err != nil {
		return nil, err
	}
	pod, s, err := target(ctx, r.Store, name)
	if err != nil {
		return nil, err
	}
	return overSPDY(func(w http.ResponseWriter, req *http.Request) {
		portforward.ServePortForward(w, req.WithContext(ctx), s, name, string(pod.UID), &portforward.V4Options{}, streamIdle, streamCreation, []string{"portforward.k8s.io"})
	}), nil
}
