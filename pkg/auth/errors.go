package auth

import "errors"

var (
	// ErrInvalid means that credentials were given and are not good: 401.
	ErrInvalid = errors.New("invalid credentials")
	// ErrUnavailable means that credentials could not be judged because no
	// apiserver answered: 503, worth a retry.
	ErrUnavailable = errors.New("credentials cannot be verified: no kube-apiserver answered the TokenReview")
	// ErrBusy is an ErrUnavailable: no apiserver was asked, for too many tokens wait.
	ErrBusy = errors.New("too many tokens wait for their TokenReview")

	// errNoUser is a good certificate without a common name.
	errNoUser = errors.New("the client certificate names no user")
)
