// Hello prints a greeting, and where it was built for.
package main

import (
	"fmt"
	"runtime"
)

const greeting = "Hello from kiln!"

func main() {
	fmt.Println(greeting)
	fmt.Printf("built with %s for %s/%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
