module github.com/drydock-labs/drydock/sandbox/guests/vi

go 1.26.0

toolchain go1.26.8

require github.com/drydock-labs/drydock/sandbox/guests/sys v0.0.0

require (
	golang.org/x/sys v0.48.0 // indirect
)

replace github.com/drydock-labs/drydock/sandbox/guests/sys => ../sys
