src/y.go
