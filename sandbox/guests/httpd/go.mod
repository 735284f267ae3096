module github.com/drydock-labs/drydock/sandbox/guests/httpd

go 1.26.0

toolchain go1.26.8

require github.com/drydock-labs/drydock/sandbox/guests/sys v0.0.0

require (
	github.com/google/go-cmp v0.7.0
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/drydock-labs/drydock/sandbox/guests/sys => ../sys
