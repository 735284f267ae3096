package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// code is an error code of the distribution specification ("Error Codes") with the status that it comes with.
type code struct {
	name   string
	status int
}

var (
	codeBlobUnknown         = code{"BLOB_UNKNOWN", http.StatusNotFound}
	codeUploadInvalid       = code{"BLOB_UPLOAD_INVALID", http.StatusBadRequest}
	codeUploadBusy          = code{"BLOB_UPLOAD_INVALID", http.StatusConflict}
	codeRange               = code{"BLOB_UPLOAD_INVALID", http.StatusRequestedRangeNotSatisfiable}
	codeUploadUnknown       = code{"BLOB_UPLOAD_UNKNOWN", http.StatusNotFound}
	codeDigestInvalid       = code{"DIGEST_INVALID", http.StatusBadRequest}
	codeManifestBlobUnknown = code{"MANIFEST_BLOB_UNKNOWN", http.StatusBadRequest}
	codeManifestInvalid     = code{"MANIFEST_INVALID", http.StatusBadRequest}
	codeManifestUnknown     = code{"MANIFEST_UNKNOWN", http.StatusNotFound}
	codeNameInvalid         = code{"NAME_INVALID", http.StatusBadRequest}
	codeNameUnknown         = code{"NAME_UNKNOWN", http.StatusNotFound}
	codePagination          = code{"PAGINATION_NUMBER_INVALID", http.StatusBadRequest}
	codeSizeInvalid         = code{"SIZE_INVALID", http.StatusBadRequest}
	codeTooLarge            = code{"SIZE_INVALID", http.StatusRequestEntityTooLarge}
	codeUnauthorized        = code{"UNAUTHORIZED", http.StatusUnauthorized}
	codeDenied              = code{"DENIED", http.StatusForbidden}
	codeUnsupported         = code{"UNSUPPORTED", http.StatusMethodNotAllowed}
	codeTooMany             = code{"TOOMANYREQUESTS", http.StatusTooManyRequests}
	codeUnknown             = code{"UNKNOWN", http.StatusInternalServerError}
	codeNoRoute             = code{"UNSUPPORTED", http.StatusNotFound}
)

// apiError is one entry of an error body.
type apiError struct {
	code    code
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

func errorf(c code, format string, args ...any) *apiError {
	return &apiError{code: c, Code: c.name, Message: fmt.Sprintf(format, args...)}
}

// writeErrors answers with the first error's status and all of them in the body.
func writeErrors(w http.ResponseWriter, errs ...*apiError) {
	b, err := json.Marshal(map[string]any{"errors": errs})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", fmt.Sprint(len(b)))
	h.Del("Etag")
	w.WriteHeader(errs[0].code.status)
	_, _ = w.Write(b) // the client went
}

// errorsOf says in the specification's codes what went wrong in the store.
func errorsOf(err error) []*apiError {
	var (
		api      *apiError
		notFound *image.NotFoundError
		missing  *image.MissingError
		invalid  *image.ManifestError
		body     *http.MaxBytesError
	)
	one := func(e *apiError) []*apiError { return []*apiError{e} }
	switch {
	case errors.As(err, &api):
		return one(api)
	case errors.As(err, &notFound):
		c := codeNameUnknown
		if notFound.Known {
			c = codeManifestUnknown
		}
		e := errorf(c, "%v", err)
		e.Detail = map[string]string{"name": notFound.Ref.Path, "reference": notFound.Ref.Tag + notFound.Ref.Digest}
		return one(e)
	case errors.As(err, &missing):
		var l []*apiError
		for _, d := range missing.Missing[:min(len(missing.Missing), 100)] {
			e := errorf(codeManifestBlobUnknown, "blob %s of %d bytes is not in this repository: push it first", d.Digest, d.Size)
			e.Detail = map[string]string{"digest": d.Digest}
			l = append(l, e)
		}
		return l
	case errors.As(err, &invalid):
		return one(errorf(codeManifestInvalid, "%s", invalid.Reason))
	case errors.As(err, &body), errors.Is(err, image.ErrTooLarge):
		return one(errorf(codeTooLarge, "%v", err))
	case errors.Is(err, image.ErrDigest):
		return one(errorf(codeDigestInvalid, "%v", err))
	case errors.Is(err, image.ErrNoBlob):
		return one(errorf(codeBlobUnknown, "blob unknown to registry"))
	case errors.Is(err, image.ErrCatalogue), errors.Is(err, image.ErrTooMany):
		return one(errorf(codeDenied, "%v", err))
	case errors.Is(err, os.ErrClosed), errors.Is(err, image.ErrDropped):
		return one(errorf(codeUploadUnknown, "the upload was cancelled or waited too long"))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return one(errorf(codeDenied, "this lab's disk is full: %v; remove images or files and push again", err))
	}
	return one(errorf(codeUnknown, "%v", err))
}

// Error is the message.
func (e *apiError) Error() string { return e.Message }
