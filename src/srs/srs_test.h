/* For tests only: what the SRS takes for the time is the clock plus this. */
#ifndef PHR_SRS_SRS_TEST_H
#define PHR_SRS_SRS_TEST_H

#include <stdint.h>

struct srs;
void srs_set_skew(struct srs *s, int64_t skew_s);

#endif
