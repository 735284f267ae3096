module github.com/drydock-labs/drydock/sandbox/guests/coreutils

go 1.26.0

toolchain go1.26.8

require (
	github.com/dlclark/regexp2 v1.11.5
	github.com/drydock-labs/drydock/sandbox/guests/sys v0.0.0
	github.com/google/go-cmp v0.7.0
	golang.org/x/net v0.59.0
)

require golang.org/x/sys v0.48.0

replace github.com/drydock-labs/drydock/sandbox/guests/sys => ../sys
