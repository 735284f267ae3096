package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"
)

// scriptedKubelet is a kubelet whose containers are a few lines of Go.
type scriptedKubelet struct{}

func (scriptedKubelet) Exec(_ context.Context, ns, pod, container string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, _ <-chan remotecommand.TerminalSize) error {
	switch cmd[0] {
	case "cat":
		_, err := io.Copy(out, in)
		return err
	case "false":
		fmt.Fprintln(errOut, "no")
		return exec.CodeExitError{Err: fmt.Errorf("exit status 3"), Code: 3}
	}
	fmt.Fprintf(out, "%s/%s/%s tty=%t: %s\n", ns, pod, container, tty, strings.Join(cmd, " "))
	return nil
}

func (scriptedKubelet) Attach(_ context.Context, ns, pod, container string, _ io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	fmt.Fprintf(out, "attached to %s\n", container)
	return nil
}

func (scriptedKubelet) PortForward(_ context.Context, _, pod string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	if _, err := http.ReadRequest(bufio.NewReader(stream)); err != nil { // an answer to what was not read would be a reset
		return err
	}
	_, err := fmt.Fprintf(stream, "HTTP/1.0 200 OK\r\n\r\nport %d of %s", port, pod)
	return err
}

func (scriptedKubelet) Logs(ctx context.Context, _, pod string, opts *v1.PodLogOptions, w io.Writer) error {
	if opts.Follow && pod == "endless" {
		if _, err := fmt.Fprintln(w, "begun"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	if opts.Previous {
		return fmt.Errorf("previous terminated container %q in pod %q not found", opts.Container, pod)
	}
	for i := range 3 {
		if opts.TailLines != nil && int64(i) < 3-*opts.TailLines {
			continue
		}
		if _, err := fmt.Fprintf(w, "line %d of %s\n", i, opts.Container); err != nil {
			return err
		}
	}
	return nil
}

// oneNode is a cluster with the node node-1, whose kubelet is scripted.
func oneNode(t testing.TB, cfg ClusterConfig) *Cluster {
	t.Helper()
	cfg.Kubelet = func(node string) (Kubelet, bool) { return scriptedKubelet{}, node == "node-1" }
	c := testCluster(t, cfg)
	node := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	client := adminClient(t, c)
	if _, err := client.CoreV1().Nodes().Create(context.Background(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return c
}

const webYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1.28", resources: {requests: {cpu: 50m, memory: 16Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}], type: NodePort}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: web, image: "nginx:1.28"}]}
`

// TestKubectl drives the server over TLS with the installed kubectl. Rows run in order; each names what its output must hold.
func TestKubectl(t *testing.T) {
	ca := testCA(t)
	c := oneNode(t, ClusterConfig{ID: "kubectl", ServerCA: ca.CertPEM()})
	config := listen(t, testServer(t), ca, c).kubeconfig(t, c, "admin", "system:masters")
	rows := []struct {
		name, args, stdin, out, err string // fields of want: substrings of stdout and stderr
		fails                       bool
	}{
		{name: "version", args: "version", out: "Server Version: v1.37.2+drydock"},
		{name: "apply", args: "apply -f -", stdin: webYAML, out: "service/web created"},
		{name: "apply again changes nothing", args: "apply -f -", stdin: webYAML, out: "deployment.apps/web unchanged"},
		{name: "get all", args: "get all", out: "deployment.apps/web"},
		{name: "wide", args: "get pods -o wide", out: "NOMINATED NODE"},
		{name: "node port", args: "get svc web -o jsonpath={.spec.ports[0].nodePort}", out: "3"},
		{name: "describe", args: "describe pod one", out: "Image:        nginx:1.28"},
		{name: "explain", args: "explain deployment.spec.replicas", out: "Number of desired pods"},
		{name: "explain nested", args: "explain pods.spec.containers --recursive", out: "livenessProbe"},
		{name: "scale", args: "scale deployment web --replicas=5", out: "deployment.apps/web scaled"},
		{name: "set image", args: "set image deployment/web web=nginx:1.29", out: "image updated"},
		{name: "label", args: "label pod one tier=front", out: "pod/one labeled"},
		{name: "selector", args: "get pods -l tier=front -o name", out: "pod/one"},
		{name: "field selector", args: "get pods --field-selector spec.nodeName=node-1 -o name", out: "pod/one"},
		{name: "server-side apply", args: "apply --server-side -f -", stdin: "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}", out: "configmap/a serverside-applied"},
		{name: "server-side conflict", args: "apply --server-side --field-manager=other -f -", stdin: "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: w}}", err: "Apply failed with 1 conflict", fails: true},
		{name: "diff", args: "diff -f -", stdin: "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: x}}", out: "+  k: x", fails: true},
		{name: "dry run", args: "create deployment d --image=x --dry-run=server", out: "created (server dry run)"},
		{name: "wait", args: "wait --for=jsonpath={.data.k}=v configmap/a --timeout=5s", out: "condition met"},
		{name: "can-i", args: "auth can-i create pods", out: "yes"},
		{name: "cannot", args: "auth can-i create pods --as=system:serviceaccount:default:default", out: "no", fails: true},
		{name: "whoami", args: "auth whoami", out: "system:masters"},
		{name: "token", args: "create token default", out: "ey"},
		{name: "logs", args: "logs one --tail=1", out: "line 2 of web"},
		{name: "logs -f", args: "logs -f one", out: "line 0 of web"},
		{name: "logs --previous", args: "logs --previous one", err: `previous terminated container "web" in pod "one" not found`, fails: true},
		{name: "exec", args: "exec one -- hostname -f", out: "default/one/web tty=false: hostname -f"},
		{name: "exec stdin", args: "exec -i one -- cat", stdin: "hello", out: "hello"},
		{name: "exec exit code", args: "exec one -- false", err: "exit code 3", fails: true},
		{name: "attach", args: "attach one", out: "attached to web"},
		{name: "api-resources", args: "api-resources", out: "networkpolicies"},
		{name: "api-versions", args: "api-versions", out: "flowcontrol.apiserver.k8s.io/v1"},
		{name: "explain a kind of each group", args: "explain ingress.spec.rules", out: "KIND:       Ingress"},
		{name: "no custom resources", args: "get crd", err: `the server doesn't have a resource type "crd"`, fails: true},
		{name: "top needs metrics", args: "top pods", err: "Metrics API not available", fails: true},
		{name: "events", args: "events", err: "No events found in default namespace."},
		{name: "cluster-info", args: "cluster-info", out: "Kubernetes control plane"},
		{name: "can-i list", args: "auth can-i --list", out: "[*]"},
		{name: "create namespace", args: "create namespace team", out: "namespace/team created"},
		{name: "expose", args: "expose deployment web --name=front --port=80", out: "service/front exposed"},
		{name: "taken address", args: "create service clusterip taken --tcp=80 --clusterip=10.96.0.1", err: "provided IP is already allocated", fails: true},
		{name: "patch", args: "patch deployment web -p {\"spec\":{\"paused\":true}}", out: "deployment.apps/web patched"},
		{name: "annotate", args: "annotate pod one note=x", out: "pod/one annotated"},
		{name: "cordon", args: "cordon node-1", out: "node/node-1 cordoned"},
		{name: "wait for a condition", args: "wait --for=condition=Ready pod/one --timeout=100ms", err: "timed out waiting for the condition", fails: true},
		{name: "watch", args: "get pods -w --request-timeout=500ms", out: "one"},
		{name: "chunks", args: "get clusterroles --chunk-size=10 -o name", out: "clusterrole.rbac.authorization.k8s.io/view"},
		{name: "sort", args: "get pods --sort-by=.metadata.name", out: "one"},
		{name: "custom columns", args: "get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName", out: "node-1"},
		{name: "as a table of events", args: "get events", err: "No resources found"},
		{name: "server-side warning", args: "apply --server-side -f -", stdin: "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {}}}", out: "serverside-applied", err: "Warning: drydock test does not act on NetworkPolicy yet"},
		{name: "server-side refusal", args: "apply --server-side -f -", stdin: "---\n{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: b}, spec: {policyName: p, validationActions: [Deny]}}", err: "drydock test does not act on ValidatingAdmissionPolicyBinding yet", fails: true},
		{name: "managed fields", args: "get configmap a -o yaml --show-managed-fields", out: "operation: Apply"},
		{name: "replace", args: "replace -f -", stdin: "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v, l: w}}", out: "configmap/a replaced"},
		{name: "delete by selector", args: "delete configmaps,services -l none=none", out: "No resources found"},
		{name: "raw", args: "get --raw /readyz", out: "ok"},
		{name: "warning", args: "create job j --image=x", out: "job.batch/j created", err: "Warning: drydock test does not act on Job yet"},
		{name: "refused", args: "create -f -", stdin: "---\n{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: w}}", err: "drydock test does not act on ValidatingWebhookConfiguration yet", fails: true},
		{name: "invalid", args: "create -f -", stdin: "---\n{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {containers: [{name: B}]}}", err: "a lowercase RFC 1123 label", fails: true},
		{name: "unknown kind", args: "create -f -", stdin: "---\n{apiVersion: v1, kind: Podd, metadata: {name: b}}", err: `no matches for kind "Podd"`, fails: true},
		{name: "strict", args: "create -f -", stdin: "---\n{apiVersion: v1, kind: Pod, metadata: {name: b}, spec: {container: []}}", err: `unknown field "spec.container"`, fails: true},
		{name: "not found", args: "get pod nope", err: `pods "nope" not found`, fails: true},
		{name: "evict through drain's API", args: "delete pod one --grace-period=0 --force", out: `pod "one" force deleted`},
		{name: "delete", args: "delete deployment web", out: `deployment.apps "web" deleted`},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			stdout, stderr, err := kubectl(t, config, r.stdin, strings.Fields(r.args)...)
			if (err != nil) != r.fails || !strings.Contains(stdout, r.out) || !strings.Contains(stderr, r.err) {
				t.Errorf("kubectl %s: %v\nstdout: %s\nstderr: %s", r.args, err, stdout, stderr)
			}
		})
	}
}
