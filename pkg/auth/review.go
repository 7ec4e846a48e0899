package auth

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
)

// NewReview returns a Review by TokenReview at the apiserver behind client, for
// the apiserver's own audiences. k8s.io/apiserver's webhook authenticator is not
// used because it reports a refused token and an unreachable server alike.
func NewReview(client kubernetes.Interface) Review {
	return func(ctx context.Context, token string) (user.Info, error) {
		review, err := client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
		if !review.Status.Authenticated {
			return nil, nil
		}
		u := review.Status.User
		info := &user.DefaultInfo{Name: u.Username, UID: u.UID, Groups: u.Groups}
		if len(u.Extra) > 0 {
			info.Extra = make(map[string][]string, len(u.Extra))
			for key, values := range u.Extra {
				info.Extra[key] = values
			}
		}
		return info, nil
	}
}
