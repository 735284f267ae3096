package registry

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// bigImage is an image of one uncompressed layer of 20 MB.
func bigImage(b *testing.B) *image.Built {
	b.Helper()
	data := make([]byte, 20<<20)
	src := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(src.IntN(16))
	}
	built, err := image.Recipe{Created: time.Unix(1e9, 0), Layers: [][]image.File{{{Path: "data", Data: data}}}}.Assemble(image.Plain)
	if err != nil {
		b.Fatal(err)
	}
	return built
}

// BenchmarkPush20MB sends the image's layer to a listener in one request, and deletes it.
func BenchmarkPush20MB(b *testing.B) {
	built := bigImage(b)
	g := New(Config{Store: image.NewStore(image.NewContent(image.ContentConfig{BlobDir: b.TempDir()})), Scope: "lab", Host: "docker.io"})
	srv := httptest.NewServer(g)
	defer srv.Close()
	layer := built.Layers[0]
	b.SetBytes(layer.Size)
	for b.Loop() {
		body, w := io.Pipe()
		go func() {
			_, err := w.Write(layer.Data)
			w.CloseWithError(err)
		}()
		r, err := http.Post(srv.URL+"/v2/x/blobs/uploads/?digest="+layer.Digest, "application/octet-stream", body)
		if err != nil || r.StatusCode != 201 {
			b.Fatal(r, err)
		}
		r.Body.Close()
		if err := g.scope.DeleteBlob("docker.io/x", layer.Digest); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPull20MB pulls the pushed image into a machine that has never seen it: decompressed, checked, unpacked and mapped.
func BenchmarkPull20MB(b *testing.B) {
	built := bigImage(b)
	b.SetBytes(built.Layers[0].Size)
	for b.Loop() {
		b.StopTimer()
		s := image.NewStore(image.NewContent(image.ContentConfig{BlobDir: b.TempDir(), CacheDir: b.TempDir()}))
		host := s.NewLocal("lab")
		if _, err := host.Put(built, "x"); err != nil {
			b.Fatal(err)
		}
		if _, err := host.Push(context.Background(), "x", nil); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := s.NewLocal("lab").Pull(context.Background(), "x", nil); err != nil {
			b.Fatal(err)
		}
		s.Content.Close()
	}
}
