// Package clienttest holds the suite that every implementation of store.Client must pass: a scenario of writes, good and bad, whose stored
// objects and errors must be the same as through HTTP.
package clienttest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/drydock-labs/drydock/orchestrator/store"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
)

// Subject is one cluster and a way to write to it. Two subjects that are compared have clusters of the same seed and the same stopped clock.
type Subject struct {
	Store *store.Cluster
	// Client returns a client for a user.
	Client func(user string, groups ...string) store.Client
}

// Run plays the scenario on both subjects and compares, after every step, the error and everything that is stored.
func Run(t *testing.T, want, got Subject) {
	t.Helper()
	ctx := context.Background()
	w, g := &player{Subject: want}, &player{Subject: got}
	for _, s := range Scenario() {
		t.Run(s.Name, func(t *testing.T) {
			wantObj, wantErr := s.Do(ctx, w)
			gotObj, gotErr := s.Do(ctx, g)
			if s.Fails != (wantErr != nil) {
				t.Fatalf("the reference answered %v", wantErr)
			}
			if d := cmp.Diff(text(wantErr), text(gotErr)); d != "" {
				t.Errorf("error (-want +got):\n%s", d)
			}
			if !s.Random {
				if d := cmp.Diff(dump(wantObj), dump(gotObj)); d != "" {
					t.Errorf("answer (-want +got):\n%s", d)
				}
			}
			if d := cmp.Diff(Dump(want.Store), Dump(got.Store)); d != "" {
				t.Errorf("stored objects (-want +got):\n%s", d)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func dump(obj runtime.Object) string {
	if obj == nil {
		return ""
	}
	obj = obj.DeepCopyObject()
	obj.GetObjectKind().SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind().GroupVersion().WithKind("")) // codecs differ in whether they set it
	data, err := json.MarshalIndent(obj, "", " ")
	if err != nil {
		return err.Error()
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return err.Error()
	}
	delete(m, "kind")
	delete(m, "apiVersion")
	data, _ = json.MarshalIndent(m, "", " ")
	return string(data)
}

// Dump returns everything a cluster stores, by key, as indented JSON.
func Dump(c *store.Cluster) map[string]string {
	out := map[string]string{}
	for _, k := range c.Kinds().All() {
		for _, e := range c.Entries(k.Resource, "") {
			out[e.Key()] = fmt.Sprintf("revision %d of %d\n%s", e.Rev, e.Created, dump(e.External()))
		}
	}
	return out
}
