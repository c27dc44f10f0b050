/* For tests: what libcurl calls, and a clock that is wrong. */
#ifndef PHR_SIDECAR_S3REQUEST_TEST_H
#define PHR_SIDECAR_S3REQUEST_TEST_H

#include <stdbool.h>
#include <stdint.h>

#include "sidecar/s3request.h"

enum { RETRY_AFTER_S_MAX = 3600 };
/* One line of an answer's head, with or without its end. */
void s3request_parse_header(struct view line, struct s3answer *io_answer);
/* By so many seconds, and whether it may be corrected. */
void s3request_test_skew(struct s3session *s, int64_t seconds, bool may_learn);

#endif
