// Command hello-amd64 is the ordinary program in the image drydock/hello-amd64. It is compiled for linux/amd64, an ELF file, so that
// a learner sees what a machine of another architecture says to it.
package main

import "fmt"

func main() { fmt.Println("Hello from a linux/amd64 program.") }
