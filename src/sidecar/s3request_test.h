/* For tests: a clock that is wrong by so many seconds, and whether it may be corrected. */
#ifndef PHR_SIDECAR_S3REQUEST_TEST_H
#define PHR_SIDECAR_S3REQUEST_TEST_H

#include <stdbool.h>
#include <stdint.h>

struct s3session;
void s3request_test_skew(struct s3session *s, int64_t seconds, bool may_learn);

#endif
