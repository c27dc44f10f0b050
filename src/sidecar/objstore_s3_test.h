/* For tests: the session beneath a store. */
#ifndef PHR_SIDECAR_OBJSTORE_S3_TEST_H
#define PHR_SIDECAR_OBJSTORE_S3_TEST_H

struct objstore;
struct s3session;
struct s3session *objstore_s3_test_session(struct objstore *s);

#endif
