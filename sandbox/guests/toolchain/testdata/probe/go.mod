module probe

go 1.26.0

toolchain go1.26.8

require (
	golang.org/x/sys v0.48.0
	golang.org/x/term v0.46.0
)
