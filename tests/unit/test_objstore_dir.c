#include "check.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/fdio.h"
#include "crypto/digest.h"
#include "sidecar/objstore.h"

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

struct world {
    char dir[40];
    char root[80];
    struct objstore *store;
};

static void world_init(struct world *w)
{
    struct objstore_config config = { .ca_file = "", .may_make = true };
    char url[120];
    char why[200];

    memcpy(w->dir, "/tmp/phr-dirstore-XXXXXX", sizeof "/tmp/phr-dirstore-XXXXXX");
    CHECK(mkdtemp(w->dir) != NULL);
    snprintf(w->root, sizeof w->root, "%s/a/store", w->dir);
    snprintf(url, sizeof url, "file://%s", w->root);
    config.url = url;
    CHECK_EQ(objstore_open(&config, &w->store, why, sizeof why), 0);
}

static void world_fini(struct world *w)
{
    objstore_close(w->store);
    CHECK_EQ(nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static int memory_file(const char *content)
{
    int fd = memfd_create("t", MFD_CLOEXEC);

    CHECK(fd >= 0);
    CHECK_EQ(fdio_write_all(fd, content, strlen(content)), 0);
    return fd;
}

static int put_text(struct world *w, const char *key, const char *content, struct objstore_note *note)
{
    int fd = memory_file(content);
    struct objstore_put put = { .key = key, .fd = fd, .bytes = strlen(content),
                                .sha256 = digest_sha256(view_text(content)) };
    int rc = objstore_put(w->store, &put, note);

    close(fd);
    return rc;
}

TEST(objstore_dir__keeps_what_it_was_given_and_replaces_nothing)
{
    struct world w;
    struct objstore_note note;
    struct digest sha;
    uint64_t bytes = 0;
    char text[16] = "";
    int fd = memory_file("");

    UNUSED_STATE;
    world_init(&w);
    CHECK_EQ(put_text(&w, "p/1/o/a", "first", &note), 0);
    CHECK_EQ(put_text(&w, "p/1/o/a", "first", &note), 0);
    CHECK_EQ(put_text(&w, "p/1/o/a", "other", &note), PHR_E_FORK);
    CHECK_EQ(note.blame, OBJSTORE_BLAME_ITEM);
    CHECK_EQ(put_text(&w, "p/1/o/a", "longer than first", &note), PHR_E_FORK);
    CHECK_EQ(objstore_get(w.store, "p/1/o/a", fd, 100, 0, &bytes, &sha, &note), 0);
    CHECK(bytes == 5);
    CHECK_EQ(pread(fd, text, sizeof text, 0), 5);
    CHECK_BYTES(text, "first", 5);
    CHECK(digest_equal(&sha, &(struct digest){ .b = { 0 } }) == false);
    CHECK_EQ(objstore_get(w.store, "p/1/o/a", fd, 4, 0, &bytes, &sha, &note), -EFBIG);
    CHECK_EQ(objstore_get(w.store, "p/1/o/b", fd, 4, 0, &bytes, &sha, &note), -ENOENT);
    CHECK_EQ(objstore_get(w.store, "q/1/o/b", fd, 4, 0, &bytes, &sha, &note), -ENOENT);
    close(fd);
    world_fini(&w);
}

TEST(objstore_dir__takes_a_part_of_a_file_as_bytes_of_its_own)
{
    struct world w;
    struct objstore_note note;
    int fd = memory_file("0123456789");
    struct objstore_put put = { .key = "o/x", .fd = fd, .offset = 3, .bytes = 4,
                                .sha256 = digest_sha256(view_text("3456")) };
    char path[120];
    char text[8] = "";
    int stored;

    UNUSED_STATE;
    world_init(&w);
    CHECK_EQ(objstore_put(w.store, &put, &note), 0);
    CHECK_EQ(fdio_pwrite_all(fd, "XXXX", 4, 3), 0); /* DIR-2 */
    snprintf(path, sizeof path, "%s/o/x", w.root);
    stored = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_EQ(read(stored, text, sizeof text), 4);
    CHECK_BYTES(text, "3456", 4);
    close(stored);
    put.key = "o/y";
    CHECK_EQ(objstore_put(w.store, &put, &note), PHR_E_SEAL); /* it has changed meanwhile */
    CHECK_EQ(note.blame, OBJSTORE_BLAME_ITEM);
    put.offset = 8;
    CHECK_EQ(objstore_put(w.store, &put, &note), PHR_E_SEAL); /* too short */
    snprintf(path, sizeof path, "%s/o/y", w.root);
    CHECK(access(path, F_OK) < 0);
    close(fd);
    world_fini(&w);
}

static int note_key(void *user, const char *key)
{
    char *all = user;

    strncat(all, key, 200);
    strncat(all, " ", 2);
    return 0;
}

static int refuse_key(void *user, const char *key)
{
    (void)user;
    (void)key;
    return -EIO;
}

TEST(objstore_dir__lists_in_the_order_of_keys)
{
    struct world w;
    struct objstore_note note;
    char all[1000] = "";

    UNUSED_STATE;
    world_init(&w);
    CHECK_EQ(put_text(&w, "p/b/l/2", "x", &note), 0);
    CHECK_EQ(put_text(&w, "p/b/l/10", "x", &note), 0);
    CHECK_EQ(put_text(&w, "p/b.c/l/1", "x", &note), 0);
    CHECK_EQ(put_text(&w, "p/a/o/1", "x", &note), 0);
    CHECK_EQ(put_text(&w, "audit/1", "x", &note), 0);
    CHECK_EQ(objstore_list(w.store, "p/", note_key, all, &note), 0);
    assert_string_equal(all, "p/a/o/1 p/b.c/l/1 p/b/l/10 p/b/l/2 ");
    all[0] = '\0';
    CHECK_EQ(objstore_list(w.store, "p/b/l/", note_key, all, &note), 0);
    assert_string_equal(all, "p/b/l/10 p/b/l/2 ");
    all[0] = '\0';
    CHECK_EQ(objstore_list(w.store, "p/z", note_key, all, &note), 0);
    assert_string_equal(all, "");
    CHECK_EQ(objstore_list(w.store, "", refuse_key, NULL, &note), -EIO);
    world_fini(&w);
}

TEST(objstore_dir__is_away_when_its_directory_is)
{
    struct world w;
    struct objstore_note note;
    struct digest sha;
    uint64_t bytes;
    char away[120];
    int fd = memory_file("");

    UNUSED_STATE;
    world_init(&w);
    CHECK_EQ(put_text(&w, "o/1", "x", &note), 0);
    CHECK_EQ(objstore_probe(w.store, &note), 0);
    snprintf(away, sizeof away, "%s.away", w.root);
    CHECK_EQ(rename(w.root, away), 0);
    CHECK_EQ(objstore_get(w.store, "o/1", fd, 9, 0, &bytes, &sha, &note), PHR_E_STORE); /* not ENOENT */
    CHECK_EQ(note.blame, OBJSTORE_BLAME_STORE);
    CHECK_EQ(mkdir(w.root, 0700), 0); /* an empty mount point */
    CHECK_EQ(put_text(&w, "o/2", "x", &note), PHR_E_STORE);
    CHECK_EQ(objstore_get(w.store, "o/1", fd, 9, 0, &bytes, &sha, &note), PHR_E_STORE);
    CHECK_EQ(objstore_probe(w.store, &note), PHR_E_STORE);
    CHECK_EQ(rmdir(w.root), 0);
    CHECK_EQ(rename(away, w.root), 0);
    CHECK_EQ(objstore_get(w.store, "o/1", fd, 9, 0, &bytes, &sha, &note), 0);
    close(fd);
    world_fini(&w);
}

TEST(objstore_dir__follows_no_symlink)
{
    struct world w;
    struct objstore_note note;
    char path[120];

    UNUSED_STATE;
    world_init(&w);
    snprintf(path, sizeof path, "%s/p", w.root);
    CHECK_EQ(symlink("/tmp", path), 0);
    CHECK_EQ(put_text(&w, "p/evil", "x", &note), PHR_E_STORE);
    CHECK(access("/tmp/evil", F_OK) < 0);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(objstore_dir__keeps_what_it_was_given_and_replaces_nothing),
        UNIT(objstore_dir__takes_a_part_of_a_file_as_bytes_of_its_own),
        UNIT(objstore_dir__lists_in_the_order_of_keys),
        UNIT(objstore_dir__is_away_when_its_directory_is),
        UNIT(objstore_dir__follows_no_symlink),
    };

    return RUN_TESTS(tests);
}
