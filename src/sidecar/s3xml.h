/*
 * The two XML documents that S3 sends us: a page of ListObjectsV2 and an Error. Bounded in
 * size, depth and count; a document type or entity declaration is refused, so nothing expands.
 */
#ifndef PHR_SIDECAR_S3XML_H
#define PHR_SIDECAR_S3XML_H

#include "phr/err.h"
#include "phr/types.h"

enum {
    S3XML_BYTES_MAX = 4 * 1024 * 1024,
    S3XML_KEYS_MAX = 1000, /* of one page: what we ask for */
    S3XML_KEY_BYTES_MAX = 1024,
    S3XML_TOKEN_BYTES_MAX = 2048
};

struct s3xml_page {
    char **keys; /* s3xml_page_fini */
    size_t count;
    bool is_truncated;
    char token[S3XML_TOKEN_BYTES_MAX]; /* of the next page; "" when there is none */
};
void s3xml_page_fini(struct s3xml_page *p);
/* PHR_E_FORMAT for everything that is not a whole list page within the limits. */
int s3xml_parse_list(struct view xml, struct s3xml_page *out_page) PHR_MUST_CHECK;

struct s3xml_error {
    char code[64]; /* letters and digits only; "" when the document has none */
    char message[160]; /* printable ASCII, cut */
};
/* PHR_E_FORMAT: not an Error document. */
int s3xml_parse_error(struct view xml, struct s3xml_error *out_error) PHR_MUST_CHECK;

#endif
