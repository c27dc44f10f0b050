/*
 * replay: images of a recorded run, and what a vault makes of each.
 *
 *   replay --journal FILE probe --keyring FILE --passfile FILE --scratch DIR --seed S
 *          --from N --share I/N --per-boundary N [--boundary N --variant V]
 *   replay --journal FILE image --boundary N --variant V --seed S --into DIR
 *
 * probe prints one line of JSON for each image: boundary, variant, seed, and what probe.h says.
 * A child of its own opens each, so that one that crashes is a result like any other. All of it
 * runs under a boot id that no row knows: rows that are not durable must prove their bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/secret.h"
#include "format/keyring.h"
#include "image.h"
#include "probe.h"
#include "vault/worker.h"

enum { CHILD_SECONDS_MAX = 60, PATH_ROOM = 512 };

struct replay {
    const char *journal, *command, *keyring, *passfile, *scratch, *into, *variant;
    uint64_t seed, from, boundary;
    unsigned share, shares, per_boundary;
    struct view body; /* of the keyring */
    struct images *images;
    uint64_t done;
};

static const char *const vault_tops[] = { "realm", "vault", NULL };

/* A login waits for the server's answer; here nobody answers. Linked in place of the vault's. */
void __wrap_worker_wait_fresh(struct vault *v, uint32_t timeout_ms);
void __wrap_worker_wait_fresh(struct vault *v, uint32_t timeout_ms)
{
    (void)v;
    (void)timeout_ms;
}

static void die(const char *what, int rc)
{
    fprintf(stderr, "replay: %s: %s\n", what, phr_err_text(rc));
    exit(3);
}

/* A slave of the other name space: a private copy would keep mounts of others alive. */
static void set_other_boot(const char *scratch)
{
    static const char id[] = "00000000-1111-2222-3333-444444444444\n";
    char path[PATH_ROOM];
    int fd;

    snprintf(path, sizeof path, "%s/boot_id", scratch);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, id, sizeof id - 1) < 0 || close(fd) < 0)
        die(path, -errno);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount(path, "/proc/sys/kernel/random/boot_id", NULL, MS_BIND, NULL) < 0)
        die("boot id", -errno);
}

static void load_keyring(struct replay *r)
{
    struct keyring *k = NULL;
    uint8_t *file = NULL;
    uint8_t *pass = NULL;
    uint8_t *body = NULL;
    uint8_t *copy;
    size_t file_bytes;
    size_t pass_bytes;
    size_t body_bytes;
    int rc = secret_arena_open();

    if (rc == 0)
        rc = fdio_load(AT_FDCWD, r->keyring, KEYRING_BYTES_MAX, &file, &file_bytes);
    if (rc == 0)
        rc = fdio_load(AT_FDCWD, r->passfile, 1024, &pass, &pass_bytes);
    if (rc == 0)
        rc = keyring_open_sealed(view_of(file, file_bytes),
                                 view_of(pass, strcspn((char *)pass, "\n")), &k);
    if (rc == 0)
        rc = keyring_body_encode(k, &body, &body_bytes);
    if (rc < 0)
        die(r->keyring, rc);
    copy = malloc(body_bytes); /* of a test's identity: children decode it */
    if (!copy)
        die("memory", -ENOMEM);
    memcpy(copy, body, body_bytes);
    r->body = view_of(copy, body_bytes);
}

static void remove_tree(const char *path)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", path, (char *)NULL);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
}

static void probe_child(const struct replay *r, const char *home, uint64_t seed, int out_fd)
{
    struct probe_opts opts = { .home = home,
                               .keyring = r->body,
                               .goes_on_first = seed % 3 == 0,
                               .seed = seed >> 8 };
    struct writer out;
    int rc;

    alarm(CHILD_SECONDS_MAX);
    writer_init(&out);
    rc = probe_vault(&opts, &out);
    if (rc < 0) {
        char text[128];

        snprintf(text, sizeof text, "\"broken\": \"%s\"", phr_err_name(rc));
        writer_fini(&out);
        writer_init(&out);
        writer_text(&out, text);
    }
    for (size_t at = 0; at < out.n;) {
        ssize_t n = write(out_fd, out.p + at, out.n - at);

        if (n <= 0)
            _exit(1);
        at += (size_t)n;
    }
    _exit(0);
}

static void probe_image(struct replay *r, enum image_variant variant, uint64_t seed)
{
    char home[PATH_ROOM];
    char buf[65536];
    ssize_t n;
    int pipe_fds[2];
    int status = 0;
    pid_t pid;

    snprintf(home, sizeof home, "%s/image-%u", r->scratch, r->share);
    remove_tree(home);
    if (mkdir(home, 0755) < 0 || pipe(pipe_fds) < 0)
        die(home, -errno);
    images_write(r->images, variant, seed, vault_tops, home);
    printf("{\"boundary\": %llu, \"variant\": \"%s\", \"seed\": %llu, ",
           (unsigned long long)images_position(r->images), image_variant_names[variant],
           (unsigned long long)seed);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(pipe_fds[0]);
        probe_child(r, home, seed, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    while ((n = read(pipe_fds[0], buf, sizeof buf)) > 0)
        fwrite(buf, 1, (size_t)n, stdout);
    close(pipe_fds[0]);
    waitpid(pid, &status, 0);
    if (status != 0)
        printf("\"died\": %d", status); /* it wrote nothing then */
    puts("}");
    r->done++;
}

static bool find_variant(const char *name, enum image_variant *out_variant)
{
    for (unsigned i = 0; i < IMAGE_VARIANTS; i++) {
        if (strcmp(name, image_variant_names[i]) == 0) {
            *out_variant = (enum image_variant)i;
            return true;
        }
    }
    return false;
}

/* The two plain ones always, of the others as many as there is time for, in turn. */
static void probe_boundary(struct replay *r, uint64_t number)
{
    static const enum image_variant others[] = { IMAGE_TORN_4K, IMAGE_MIXED, IMAGE_TORN_512,
                                                 IMAGE_FILES, IMAGE_SIZES, IMAGE_MIXED };
    uint64_t seed = r->seed * 1000003 + images_position(r->images) * 16;
    enum image_variant only;

    if (r->variant && find_variant(r->variant, &only)) {
        probe_image(r, only, r->seed);
        return;
    }
    probe_image(r, IMAGE_KEEP, seed + IMAGE_VARIANTS);
    if (images_pending(r->images, "/vault") == 0)
        return;
    probe_image(r, IMAGE_DROP, seed + IMAGE_VARIANTS + 1);
    for (unsigned i = 0; i < r->per_boundary; i++) {
        enum image_variant v = others[(number * r->per_boundary + i) % 6];

        probe_image(r, v, seed + i);
    }
}

static void run_probe(struct replay *r)
{
    uint64_t number = 0;

    set_other_boot(r->scratch);
    load_keyring(r);
    do {
        if (images_position(r->images) < r->from || !images_is_boundary(r->images, "/vault"))
            continue;
        if (r->boundary ? images_position(r->images) == r->boundary
                        : number % r->shares == r->share)
            probe_boundary(r, number);
        number++;
    } while (images_step(r->images));
    fprintf(stderr, "share %u: %llu images of %llu boundaries\n", r->share,
            (unsigned long long)r->done, (unsigned long long)number);
}

static void run_image(struct replay *r)
{
    enum image_variant variant;

    if (!r->variant || !find_variant(r->variant, &variant) || !r->into)
        die("image needs --variant and --into", -EINVAL);
    while (images_position(r->images) < r->boundary && images_step(r->images))
        continue;
    images_write(r->images, variant, r->seed, NULL, r->into);
}

static void parse(struct replay *r, int argc, char *argv[])
{
    static const struct option options[] = {
        { "journal", 1, NULL, 'j' },  { "keyring", 1, NULL, 'k' }, { "passfile", 1, NULL, 'p' },
        { "scratch", 1, NULL, 's' },  { "seed", 1, NULL, 'S' },    { "from", 1, NULL, 'f' },
        { "share", 1, NULL, 'n' },    { "variant", 1, NULL, 'v' }, { "boundary", 1, NULL, 'b' },
        { "into", 1, NULL, 'i' },     { "per-boundary", 1, NULL, 'P' }, { NULL, 0, NULL, 0 }
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'j': r->journal = optarg; break;
        case 'k': r->keyring = optarg; break;
        case 'p': r->passfile = optarg; break;
        case 's': r->scratch = optarg; break;
        case 'v': r->variant = optarg; break;
        case 'i': r->into = optarg; break;
        case 'S': r->seed = strtoull(optarg, NULL, 0); break;
        case 'f': r->from = strtoull(optarg, NULL, 0); break;
        case 'b': r->boundary = strtoull(optarg, NULL, 0); break;
        case 'P': r->per_boundary = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'n':
            if (sscanf(optarg, "%u/%u", &r->share, &r->shares) != 2 || r->shares == 0)
                die("--share I/N", -EINVAL);
            break;
        default: exit(2);
        }
    }
    r->command = optind < argc ? argv[optind] : "";
}

int main(int argc, char *argv[])
{
    struct replay r = { .shares = 1, .per_boundary = 2 };

    parse(&r, argc, argv);
    if (!r.journal)
        die("--journal", -EINVAL);
    r.images = images_open(r.journal);
    if (strcmp(r.command, "image") == 0)
        run_image(&r);
    else if (strcmp(r.command, "probe") == 0 && r.keyring && r.passfile && r.scratch)
        run_probe(&r);
    else
        die("probe or image", -EINVAL);
    return 0;
}
