package apiserver

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// testServer is one server for all tests of the package: that is how it is used.
func testServer(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = New(Config{Product: "test", Verify: os.Getenv("DRYDOCK_BENCH") == ""}) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// testCluster is a new cluster that ends with the test.
func testCluster(t testing.TB, cfg ClusterConfig) *Cluster {
	t.Helper()
	if cfg.ID == "" {
		cfg.ID = "test"
	}
	c, err := testServer(t).NewCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// adminClient is client-go over the handler, without a connection.
func adminClient(t testing.TB, c *Cluster) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.RESTConfig("admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestSmoke(t *testing.T) {
	start := time.Now()
	testServer(t)
	t.Logf("server in %s", time.Since(start))
	c := testCluster(t, ClusterConfig{})
	client := adminClient(t, c)
	ctx := context.Background()
	pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-"}, Spec: v1.PodSpec{Containers: []v1.Container{{Name: "web", Image: "nginx"}}}}
	created, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", created)
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatal(err, list)
	}
	v, err := client.ServerVersion()
	t.Log(v, err)
}
