package apiserver

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/orchestrator/apiserver/clienttest"
	"github.com/drydock-labs/drydock/orchestrator/clock"
	"github.com/drydock-labs/drydock/orchestrator/store"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// newClock is a clock that the test moves.
func newClock() *clock.Manual { return clock.NewManual(time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)) }

// seeded is a deterministic source of random bytes.
func seeded(n byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{n}) }

// TestClientStoresWhatHTTPStores plays the suite's scenario through client-go over the handler and through the in-process client.
func TestClientStoresWhatHTTPStores(t *testing.T) {
	subject := func(client func(*Cluster, user.Info, string) store.Client) clienttest.Subject {
		c := testCluster(t, ClusterConfig{ID: "compare", Clock: newClock(), Rand: seeded(1)})
		return clienttest.Subject{Store: c.Store(), Client: func(name string, groups ...string) store.Client {
			return client(c, &user.DefaultInfo{Name: name, Groups: groups}, managerOf(name))
		}}
	}
	clienttest.Run(t, subject((*Cluster).HTTPClient), subject((*Cluster).ClientAs))
}

// TestManagers: components are called in managedFields what upstream's are called.
func TestManagers(t *testing.T) {
	for user, want := range map[string]string{
		"system:serviceaccount:kube-system:replicaset-controller": "kube-controller-manager",
		"system:kube-scheduler":                                   "kube-scheduler",
		"system:node:node-1":                                      "kubelet",
		"system:apiserver":                                        "apiserver",
		"alice":                                                   "alice",
		"system:serviceaccount:default:robot":                     "system:serviceaccount:default:robot",
	} {
		if got := managerOf(user); got != want {
			t.Errorf("%s writes as %q, want %q", user, got, want)
		}
	}
}

// BenchmarkNewCluster is a clone of the template; BenchmarkCreate the create of a ConfigMap, in-process and through the HTTP handler.
func BenchmarkNewCluster(b *testing.B) {
	s := testServer(b)
	b.ReportAllocs()
	for b.Loop() {
		c, err := s.NewCluster(ClusterConfig{ID: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

func BenchmarkCreate(b *testing.B) {
	for name, client := range map[string]func(*Cluster, user.Info, string) store.Client{"in-process": (*Cluster).ClientAs, "handler": (*Cluster).HTTPClient} {
		b.Run(name, func(b *testing.B) {
			c := testCluster(b, ClusterConfig{ID: "bench", MaxObjects: -1})
			cl := client(c, &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}, "bench")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := cl.Create(context.Background(), v1.Resource("configmaps"), "default", &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
