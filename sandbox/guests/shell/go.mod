module github.com/drydock-labs/drydock/sandbox/guests/shell

go 1.26.0

toolchain go1.26.8

require (
	github.com/drydock-labs/drydock/sandbox/guests/sys v0.0.0
	mvdan.cc/sh/v3 v3.14.1
)

require (
	golang.org/x/sys v0.48.0 // indirect
	golang.org/x/term v0.45.0 // indirect
)

replace github.com/drydock-labs/drydock/sandbox/guests/sys => ../sys
