package vfs

// CallerFile is a Regular whose contents depend on who opens it.
type CallerFile interface {
	Regular
	OpenFor(caller any, flags int) (Handle, error)
}
