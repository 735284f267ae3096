package lessons

import "testing"

func TestContent(t *testing.T) {
	all, err := LoadAll(Content())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no lesson ships")
	}
}
