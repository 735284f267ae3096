package time

import (
	"sync"
	"syscall"
)

func init() {
	syscall.OnStart(func() { // the zone is the process's TZ, not the image's
		localOnce = sync.Once{}
		localLoc = Location{}
	})
}
