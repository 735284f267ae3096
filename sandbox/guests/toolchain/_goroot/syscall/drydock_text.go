package syscall

// drydockErrorText is Linux's text for an error: messages of programs are the same on both.
func drydockErrorText(e Errno) string {
	switch e {
	case EADDRNOTAVAIL:
		return "cannot assign requested address"
	case EAFNOSUPPORT:
		return "address family not supported by protocol"
	case EAGAIN:
		return "resource temporarily unavailable"
	case EALREADY:
		return "operation already in progress"
	case EBADF:
		return "bad file descriptor"
	case EBADMSG:
		return "bad message"
	case ECANCELED:
		return "operation canceled"
	case ECONNABORTED:
		return "software caused connection abort"
	case EDEADLK:
		return "resource deadlock avoided"
	case EDOM:
		return "numerical argument out of domain"
	case EDQUOT:
		return "disk quota exceeded"
	case EHOSTUNREACH:
		return "no route to host"
	case EILSEQ:
		return "invalid or incomplete multibyte or wide character"
	case EINPROGRESS:
		return "operation now in progress"
	case EIO:
		return "input/output error"
	case EISCONN:
		return "transport endpoint is already connected"
	case ELOOP:
		return "too many levels of symbolic links"
	case ENETDOWN:
		return "network is down"
	case ENFILE:
		return "too many open files in system"
	case ENOLCK:
		return "no locks available"
	case ENOLINK:
		return "link has been severed"
	case ENOMEM:
		return "cannot allocate memory"
	case ENOSYS:
		return "function not implemented"
	case ENOTCONN:
		return "transport endpoint is not connected"
	case ENOTSUP:
		return "operation not supported"
	case ENOTTY:
		return "inappropriate ioctl for device"
	case EPROTONOSUPPORT:
		return "protocol not supported"
	case ERANGE:
		return "numerical result out of range"
	case EXDEV:
		return "invalid cross-device link"
	case ENOTCAPABLE:
		return "operation not permitted"
	}
	s := errorstr[e]
	if s == "" {
		return ""
	}
	return string(s[0]|0x20) + s[1:]
}
