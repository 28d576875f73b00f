/* The decoder on processors that multiply bytes (AVX-512 VNNI): one call runs all layers.

   Why it exists: reading the weights once per token is what decoding costs, and general matrix
   kernels read them at 0.4 to 0.7 of the speed of the memory. This one streams them.

   What it guarantees, by construction: the numbers of a token depend on the tokens before it in
   its row and on nothing else. Integer sums are exact, float sums run in one fixed order, and
   attention visits the cache page by page; so batch size, cutting of the prompt, number of threads
   and who computes what change no bit.

   Shapes: N tokens of one call (of any rows), D width, H heads, K head width, F inner width.

   Weights are unsigned bytes (value + 128) or nibbles (value + 8), in blocks of 32 rows: for each
   4 inputs 32 rows x 4 bytes, row by row; nibbles: for each 8 inputs 32 rows x 4 bytes, a byte
   holding input i in its low and input i + 4 in its high half. Activations become signed bytes
   with one scale per GROUP inputs.

   Keys and values: signed bytes with one scale per token and head, in pages of 64 positions; a
   page holds, for each layer and head, the keys as (K, 64), their scales (64,), the values as
   (64, K), their scales (64,). A row is a list of pages. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Windows offers no name of a library that is not marked. */
#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

/* clang lacks the pragma that allows these instructions in one file only. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(_WIN32)
#define HAVE_KERNEL 1
#endif

#ifdef HAVE_KERNEL

#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,avx2")

#define INLINE static inline __attribute__((always_inline))
#define PAGE 64
#define HEAD_BYTES(k) (2 * PAGE * ((k) + (int64_t)sizeof(float))) /* of one head in a page */
#define BLOCK 32
#define TILE 8    /* tokens that share one pass over a block of weights */
#define QUERIES 4 /* queries that share one pass over a page */
#define CHUNK 512 /* tokens whose activations are held at once; the caller cuts longer calls */

typedef struct {
    const uint8_t *data;
    const void *scale; /* bytes: float (rows); nibbles: float16 (block, group, 32) */
    int32_t rows;      /* a multiple of BLOCK */
    int32_t inputs;    /* a multiple of group */
    int32_t group;     /* inputs that share a scale of activations (and of nibbles) */
    int32_t bits;      /* 8 or 4 */
} Matrix;

typedef struct {
    Matrix qkv, proj, gate_up, down; /* gate_up: 16 rows of gate, then the same 16 of up */
    const float *norm1_scale, *norm1_shift, *norm2_scale, *norm2_shift;
} Layer;

typedef struct {
    int32_t width, heads, layers, inner;
    float epsilon;
    const Layer *layer;
    const float *norm_scale, *norm_shift;
    const float *cos, *sin; /* (positions, K / 2) */
} Model;

/* ---- threads ----------------------------------------------------------------------------

   A call is a list of phases, a phase a list of items. Threads take items until none is left and
   go on when all are *done*, not when all threads have come: one that the system has put aside
   holds nobody up, the others do its share. It may even come back after the call has ended; so
   the counters belong to whoever leaves last, and without an item in hand nothing else is touched. */

typedef struct {
    _Alignas(64) atomic_int next; /* a cache line each */
    atomic_int done;
} Phase;

typedef struct Job Job;

struct Job {
    void (*work)(Job *);
    int threads, phase_count;
    atomic_int holders;
    Phase phases[];
};

typedef struct Team {
    int count;
    pid_t owner;
    pthread_t *threads;
    pthread_mutex_t lock, use;
    pthread_cond_t wake;
    Job *job; /* guarded by lock */
    int stop; /* guarded by lock */
    atomic_int turn;
    struct Team *next; /* guarded by teams_lock */
} Team;

/* A fork copies locks as they stand, and a call of another thread may hold one: the child makes
   them anew. Its teams have no threads until they are needed (run_job). */
static Team *teams;
static pthread_mutex_t teams_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_watched = PTHREAD_ONCE_INIT;

static void before_fork(void) { pthread_mutex_lock(&teams_lock); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&teams_lock); }

static void after_fork_in_child(void) {
    pthread_mutex_init(&teams_lock, NULL);
    for (Team *team = teams; team; team = team->next) pthread_mutex_init(&team->use, NULL);
}

static void watch_forks(void) {
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Waiting threads spin, since the next phase is microseconds away; after a while they give way. */
#define SPINS 6000
#define IDLE_SPINS 6000

static int claim(Job *job, int phase, int items) {
    int item = atomic_fetch_add_explicit(&job->phases[phase].next, 1, memory_order_relaxed);
    return item < items ? item : -1;
}

static void finish(Job *job, int phase) {
    atomic_fetch_add_explicit(&job->phases[phase].done, 1, memory_order_release);
}

static void settle(Job *job, int phase, int items) {
    for (int i = 0; atomic_load_explicit(&job->phases[phase].done, memory_order_acquire) < items;
         i++) {
        if (i < SPINS)
            _mm_pause();
        else
            sched_yield();
    }
}

/* The statement after it runs for every item that this thread gets of a phase. */
#define FOR_ITEMS(job, phase, items, item) \
    for (int item; (item = claim(job, phase, items)) >= 0; finish(job, phase))

static void leave(Job *job) {
    if (atomic_fetch_sub_explicit(&job->holders, 1, memory_order_acq_rel) == 1) free(job);
}

static void *member_main(void *argument) {
    Team *team = argument;
    int turn = 0;
    for (;;) {
        for (int i = 0; i < IDLE_SPINS; i++) {
            if (atomic_load_explicit(&team->turn, memory_order_acquire) != turn) break;
            _mm_pause();
        }
        pthread_mutex_lock(&team->lock);
        while (atomic_load(&team->turn) == turn) pthread_cond_wait(&team->wake, &team->lock);
        turn = atomic_load(&team->turn);
        int stop = team->stop;
        Job *job = team->job;
        if (job) atomic_fetch_add(&job->holders, 1);
        pthread_mutex_unlock(&team->lock);
        if (stop) return NULL;
        if (!job) continue;
        job->work(job);
        leave(job);
    }
}

static void start_members(Team *team) {
    team->owner = getpid();
    team->job = NULL;
    atomic_store(&team->turn, 0);
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->wake, NULL);
    for (int i = 1; i < team->count; i++) {
        if (pthread_create(&team->threads[i], NULL, member_main, team)) {
            team->count = i; /* go on with those that started */
            break;
        }
    }
}

static void publish(Team *team, Job *job) {
    pthread_mutex_lock(&team->lock);
    team->job = job;
    if (job || team->stop) {
        atomic_fetch_add_explicit(&team->turn, 1, memory_order_release);
        pthread_cond_broadcast(&team->wake);
    }
    pthread_mutex_unlock(&team->lock);
}

/* Run a job; on return all its items are done, though a thread may still hold its counters. */
static void run_job(Team *team, Job *job) {
    pthread_mutex_lock(&team->use);                   /* one call at a time */
    if (team->owner != getpid()) start_members(team); /* a forked child has no threads yet */
    job->threads = team->count;
    atomic_store(&job->holders, 1);
    if (team->count > 1) publish(team, job);
    job->work(job);
    if (team->count > 1) publish(team, NULL);
    leave(job);
    pthread_mutex_unlock(&team->use);
}

/* ---- arithmetic ------------------------------------------------------------------------- */

INLINE __m512 exp16(__m512 x) {
    /* Cody-Waite reduction, then the Taylor polynomial to degree 7 on |r| <= ln 2 / 2: relative
       error below 2e-7. -inf gives 0. */
    x = _mm512_max_ps(x, _mm512_set1_ps(-104.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9841270e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3888889e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3333333e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1666667e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666667e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static void layer_norm(const float *x, const float *scale, const float *shift, int d, float epsilon,
                       float *out) {
    __m512 sum = _mm512_setzero_ps();
    for (int i = 0; i < d; i += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
    __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / (float)d);
    __m512 square = _mm512_setzero_ps();
    for (int i = 0; i < d; i += 16) {
        __m512 c = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
        square = _mm512_fmadd_ps(c, c, square);
    }
    float variance = _mm512_reduce_add_ps(square) / (float)d;
    __m512 rate = _mm512_set1_ps(1.0f / sqrtf(variance + epsilon));
    for (int i = 0; i < d; i += 16) {
        __m512 c = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), rate);
        c = _mm512_fmadd_ps(c, _mm512_loadu_ps(scale + i), _mm512_loadu_ps(shift + i));
        _mm512_storeu_ps(out + i, c);
    }
}

/* Activations of N tokens as bytes: q (N, inputs), scale and offset (N, groups). The offset is
   what the constant added to the weights contributes, taken off again. */
typedef struct {
    int8_t *q;
    float *scale;
    int32_t *offset;
} Bytes;

static void quantise(const float *x, const Matrix *matrix, Bytes bytes, int token) {
    int inputs = matrix->inputs, group = matrix->group, groups = inputs / group;
    int zero = matrix->bits == 8 ? 128 : 8;
    int8_t *q = bytes.q + (int64_t)token * inputs;
    for (int g = 0; g < groups; g++, x += group, q += group) {
        __m512 top = _mm512_setzero_ps();
        for (int i = 0; i < group; i += 16)
            top = _mm512_max_ps(top, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
        float most = _mm512_reduce_max_ps(top);
        __m512 rate = _mm512_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
        __m512i sum = _mm512_setzero_si512();
        for (int i = 0; i < group; i += 16) {
            __m512i v = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), rate));
            sum = _mm512_add_epi32(sum, v);
            _mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(v));
        }
        bytes.scale[token * groups + g] = most / 127.0f;
        bytes.offset[token * groups + g] = -zero * _mm512_reduce_add_epi32(sum);
    }
}

/* One block of 32 rows times m tokens: out[token][half] of 16 rows each. */
INLINE void multiply_tile(const int m, const int bits, const Matrix *matrix, int block, Bytes bytes,
                          int token, __m512 out[][2]) {
    const int inputs = matrix->inputs, group = matrix->group, groups = inputs / group;
    const uint8_t *w = matrix->data + (int64_t)block * BLOCK * inputs * bits / 8;
    const int8_t *q = bytes.q + (int64_t)token * inputs;
    const float *scale = bytes.scale + token * groups;
    const int32_t *offset = bytes.offset + token * groups;
    const uint16_t *halves = (const uint16_t *)matrix->scale + (int64_t)block * groups * BLOCK;
    const __m512i nibble = _mm512_set1_epi8(15);
#pragma GCC unroll 8
    for (int t = 0; t < m; t++) out[t][0] = out[t][1] = _mm512_setzero_ps();
    for (int g = 0; g < groups; g++) {
        __m512i a[TILE][2];
#pragma GCC unroll 8
        for (int t = 0; t < m; t++) a[t][0] = a[t][1] = _mm512_set1_epi32(offset[t * groups + g]);
        for (int k = 0; k < group; k += 32 / bits) {
            __m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 64);
            w += 128;
            if (bits == 8) {
#pragma GCC unroll 8
                for (int t = 0; t < m; t++) {
                    int32_t four;
                    memcpy(&four, q + (int64_t)t * inputs + k, 4);
                    __m512i x = _mm512_set1_epi32(four);
                    a[t][0] = _mm512_dpbusd_epi32(a[t][0], w0, x);
                    a[t][1] = _mm512_dpbusd_epi32(a[t][1], w1, x);
                }
            } else {
                __m512i low0 = _mm512_and_si512(w0, nibble), low1 = _mm512_and_si512(w1, nibble);
                __m512i high0 = _mm512_and_si512(_mm512_srli_epi16(w0, 4), nibble);
                __m512i high1 = _mm512_and_si512(_mm512_srli_epi16(w1, 4), nibble);
#pragma GCC unroll 8
                for (int t = 0; t < m; t++) {
                    int32_t four[2];
                    memcpy(four, q + (int64_t)t * inputs + k, 8);
                    __m512i x = _mm512_set1_epi32(four[0]), y = _mm512_set1_epi32(four[1]);
                    a[t][0] = _mm512_dpbusd_epi32(a[t][0], low0, x);
                    a[t][1] = _mm512_dpbusd_epi32(a[t][1], low1, x);
                    a[t][0] = _mm512_dpbusd_epi32(a[t][0], high0, y);
                    a[t][1] = _mm512_dpbusd_epi32(a[t][1], high1, y);
                }
            }
        }
        q += group;
        if (bits == 8) {
#pragma GCC unroll 8
            for (int t = 0; t < m; t++) {
                __m512 s = _mm512_set1_ps(scale[t * groups + g]);
                out[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(a[t][0]), s, out[t][0]);
                out[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(a[t][1]), s, out[t][1]);
            }
        } else {
            const __m256i *h = (const __m256i *)(halves + (int64_t)g * BLOCK);
            __m512 s0 = _mm512_cvtph_ps(_mm256_loadu_si256(h));
            __m512 s1 = _mm512_cvtph_ps(_mm256_loadu_si256(h + 1));
#pragma GCC unroll 8
            for (int t = 0; t < m; t++) {
                __m512 s = _mm512_set1_ps(scale[t * groups + g]);
                __m512 y0 = _mm512_mul_ps(_mm512_cvtepi32_ps(a[t][0]), s0);
                __m512 y1 = _mm512_mul_ps(_mm512_cvtepi32_ps(a[t][1]), s1);
                out[t][0] = _mm512_fmadd_ps(y0, s, out[t][0]);
                out[t][1] = _mm512_fmadd_ps(y1, s, out[t][1]);
            }
        }
    }
    if (bits == 8) {
        const float *s = (const float *)matrix->scale + block * BLOCK;
        __m512 s0 = _mm512_loadu_ps(s), s1 = _mm512_loadu_ps(s + 16);
#pragma GCC unroll 8
        for (int t = 0; t < m; t++) {
            out[t][0] = _mm512_mul_ps(out[t][0], s0);
            out[t][1] = _mm512_mul_ps(out[t][1], s1);
        }
    }
}

enum { STORE, ADD, SWIGLU, GEGLU };

INLINE void finish_tile(const int m, const int mode, int block, float *out, int64_t stride,
                        __m512 y[][2]) {
#pragma GCC unroll 8
    for (int t = 0; t < m; t++) {
        float *to = out + t * stride;
        if (mode == SWIGLU || mode == GEGLU) {
            __m512 z = y[t][0];
            if (mode == GEGLU) { /* tanh-GELU: x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)) */
                __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(z, z), _mm512_set1_ps(0.044715f),
                                               _mm512_set1_ps(1.0f));
                z = _mm512_mul_ps(_mm512_mul_ps(z, cubic), _mm512_set1_ps(1.5957691216f));
            }
            __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), z));
            __m512 gate = _mm512_div_ps(y[t][0], _mm512_add_ps(_mm512_set1_ps(1.0f), e));
            _mm512_storeu_ps(to + block * 16, _mm512_mul_ps(gate, y[t][1]));
            continue;
        }
        to += block * BLOCK;
        if (mode == ADD) {
            y[t][0] = _mm512_add_ps(_mm512_loadu_ps(to), y[t][0]);
            y[t][1] = _mm512_add_ps(_mm512_loadu_ps(to + 16), y[t][1]);
        }
        _mm512_storeu_ps(to, y[t][0]);
        _mm512_storeu_ps(to + 16, y[t][1]);
    }
}

#define CASE(m, bits, mode)                                                   \
    case m: {                                                                 \
        __m512 y[TILE][2];                                                    \
        multiply_tile(m, bits, matrix, block, bytes, token, y);               \
        finish_tile(m, mode, block - first, out + token * stride, stride, y); \
        break;                                                                \
    }

#define BLOCKS(name, bits, mode)                                                                \
    static __attribute__((noinline)) void name(const Matrix *matrix, int first, int block,      \
                                               int tokens, Bytes bytes, float *out,             \
                                               int64_t stride) {                                \
        for (int token = 0; token < tokens; token += TILE) {                                    \
            switch (tokens - token < TILE ? tokens - token : TILE) {                            \
                CASE(1, bits, mode)                                                             \
                CASE(2, bits, mode)                                                             \
                CASE(3, bits, mode)                                                             \
                CASE(4, bits, mode)                                                             \
                CASE(5, bits, mode) CASE(6, bits, mode) CASE(7, bits, mode) CASE(8, bits, mode) \
            }                                                                                   \
        }                                                                                       \
    }

BLOCKS(blocks_8_store, 8, STORE)
BLOCKS(blocks_8_add, 8, ADD)
BLOCKS(blocks_8_swiglu, 8, SWIGLU)
BLOCKS(blocks_8_geglu, 8, GEGLU)
BLOCKS(blocks_4_store, 4, STORE)
BLOCKS(blocks_4_add, 4, ADD)
BLOCKS(blocks_4_swiglu, 4, SWIGLU)
BLOCKS(blocks_4_geglu, 4, GEGLU)

typedef void (*Blocks)(const Matrix *, int, int, int, Bytes, float *, int64_t);

static int pieces_of(int blocks, int threads) {
    int pieces = threads == 1 ? 1 : threads * 6;
    return pieces < blocks ? pieces : blocks;
}

/* Blocks first..last of a matrix times N tokens, as one phase. */
static void multiply(Job *job, int phase, const Matrix *matrix, int first, int last, int tokens,
                     Bytes bytes, int mode, float *out, int64_t stride) {
    static const Blocks kernels[2][4] = {
        {blocks_8_store, blocks_8_add, blocks_8_swiglu, blocks_8_geglu},
        {blocks_4_store, blocks_4_add, blocks_4_swiglu, blocks_4_geglu}};
    Blocks kernel = kernels[matrix->bits == 4][mode];
    const int64_t count = last - first;
    const int pieces = pieces_of(last - first, job->threads);
    FOR_ITEMS (job, phase, pieces, item) {
        int hi = first + (int)(count * (item + 1) / pieces);
        for (int b = first + (int)(count * item / pieces); b < hi; b++)
            kernel(matrix, first, b, tokens, bytes, out, stride);
    }
    settle(job, phase, pieces);
}

/* ---- attention -------------------------------------------------------------------------- */

typedef struct {
    const Model *model;
    int tokens;
    float *x;                /* (N, D): embedded in, hidden out */
    const int32_t *row;      /* (N,) tokens of one row stand together, in order */
    const int32_t *position; /* (N,) */
    const int32_t *start;    /* (rows,) first position that may be attended to */
    int8_t *const *pages;    /* (rows, page_stride) */
    int64_t page_stride;
    float *wide;  /* (N, 3 D) or (N, F) */
    float *mixed; /* (N, D) */
    Bytes bytes;
    const int32_t *tasks; /* first token of each run of queries */
    int task_count;
    const int32_t *wanted; /* ascending; NULL for all tokens */
    int wanted_count;
} Call;

/* k floats as bytes: to[i * stride]; gives their scale. */
INLINE float to_bytes(const float *x, int k, int8_t *to, int stride) {
    __m512 top = _mm512_setzero_ps();
    for (int i = 0; i < k; i += 16) top = _mm512_max_ps(top, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    float most = _mm512_reduce_max_ps(top);
    __m512 rate = _mm512_set1_ps(most > 0.0f ? 127.0f / most : 0.0f);
    for (int i = 0; i < k; i += 16) {
        int8_t bytes[16];
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), rate));
        _mm_storeu_si128((__m128i *)bytes, _mm512_cvtepi32_epi8(q));
        for (int j = 0; j < 16; j++) to[(i + j) * stride] = bytes[j];
    }
    return most / 127.0f;
}

/* Rotary embedding of one head in place. */
static void rotate(float *x, const float *cos, const float *sin, int half) {
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

/* One key and value of k floats into a slot of their page. */
static void store_head(int8_t *page, int layer, int head, int key_heads, int k, int slot,
                       const float *key, const float *value) {
    page += ((int64_t)layer * key_heads + head) * HEAD_BYTES(k);
    float *scales = (float *)(page + PAGE * k);
    scales[slot] = to_bytes(key, k, page + slot, PAGE);
    page = (int8_t *)(scales + PAGE);
    scales = (float *)(page + PAGE * k);
    scales[slot] = to_bytes(value, k, page + slot * k, 1);
}

/* Rotary embedding of query (scaled) and key in place; key and value into their page. */
static void place_head(const Call *call, int layer, int token, int head) {
    const Model *model = call->model;
    const int d = model->width, k = d / model->heads, half = k / 2;
    const int position = call->position[token];
    float *q = call->wide + (int64_t)token * 3 * d + head * k, *key = q + d, *value = q + 2 * d;
    const float *cos = model->cos + (int64_t)position * half;
    const float *sin = model->sin + (int64_t)position * half;
    const float scale = 1.0f / sqrtf((float)k);
    rotate(q, cos, sin, half);
    for (int i = 0; i < k; i++) q[i] *= scale;
    rotate(key, cos, sin, half);
    store_head(call->pages[call->row[token] * call->page_stride + position / PAGE], layer, head,
               model->heads, k, position % PAGE, key, value);
}

/* One query on its way through the pages: weighted values so far, their highest score and the sum
   of their weights. */
typedef struct {
    __m512 sum[8];
    const float *q;
    float top, mass;
    int32_t position, start;
} Query;

/* 16 bytes as floats. */
INLINE __m512 from_bytes(const int8_t *x) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)x)));
}

/* One page for n queries of one head; v = K / 16. A query's sums run in the same order whatever n
   is, and a page that it may not see changes none of its bits. */
INLINE void visit_page(const int n, const int v, Query *query, const int8_t *keys, int base,
                       int last) {
    const int k = v * 16;
    const float *key_scales = (const float *)(keys + PAGE * k);
    const int8_t *values = (const int8_t *)(key_scales + PAGE);
    const float *value_scales = (const float *)(values + PAGE * k);
    const __m512 none = _mm512_set1_ps(-INFINITY);
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    float weight[QUERIES][PAGE];
    __m512 s[QUERIES][4];
#pragma GCC unroll 4
    for (int t = 0; t < n; t++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) s[t][j] = _mm512_setzero_ps();
    for (int i = 0; i < k; i++) {
        __m512 key[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) key[j] = from_bytes(keys + i * PAGE + j * 16);
#pragma GCC unroll 4
        for (int t = 0; t < n; t++) {
            __m512 x = _mm512_set1_ps(query[t].q[i]);
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) s[t][j] = _mm512_fmadd_ps(x, key[j], s[t][j]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < n; t++) {
        const __m512i position = _mm512_set1_epi32(query[t].position);
        const __m512i from = _mm512_set1_epi32(query[t].start);
        __m512 most = none;
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m512i at = _mm512_add_epi32(lanes, _mm512_set1_epi32(base + j * 16));
            __mmask16 seen =
                _mm512_cmple_epi32_mask(at, position) & _mm512_cmpge_epi32_mask(at, from);
            s[t][j] = _mm512_mul_ps(s[t][j], _mm512_loadu_ps(key_scales + j * 16));
            s[t][j] = _mm512_mask_mov_ps(none, seen, s[t][j]);
            most = _mm512_max_ps(most, s[t][j]);
        }
        float best = fmaxf(query[t].top, _mm512_reduce_max_ps(most));
        /* While nothing is seen all weights come out as 0. */
        float level = best == -INFINITY ? 0.0f : best;
        float fade = _mm512_cvtss_f32(exp16(_mm512_set1_ps(query[t].top - level)));
        __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            __m512 e = exp16(_mm512_sub_ps(s[t][j], _mm512_set1_ps(level)));
            e = _mm512_mask_mov_ps(_mm512_setzero_ps(),
                                   _mm512_cmp_ps_mask(s[t][j], none, _CMP_NEQ_OQ), e);
            total = _mm512_add_ps(total, e);
            e = _mm512_mul_ps(e, _mm512_loadu_ps(value_scales + j * 16));
            _mm512_storeu_ps(weight[t] + j * 16, e);
        }
        query[t].mass = query[t].mass * fade + _mm512_reduce_add_ps(total);
        query[t].top = best;
#pragma GCC unroll 8
        for (int j = 0; j < v; j++)
            query[t].sum[j] = _mm512_mul_ps(query[t].sum[j], _mm512_set1_ps(fade));
    }
    __m512 sum[QUERIES][8];
#pragma GCC unroll 4
    for (int t = 0; t < n; t++)
#pragma GCC unroll 8
        for (int j = 0; j < v; j++) sum[t][j] = query[t].sum[j];
    /* Slots past a query's own position have weight 0 and hold finite numbers. */
    const int used = last - base + 1 < PAGE ? last - base + 1 : PAGE;
    for (int slot = 0; slot < used; slot++) {
        __m512 value[8];
#pragma GCC unroll 8
        for (int j = 0; j < v; j++) value[j] = from_bytes(values + slot * k + j * 16);
#pragma GCC unroll 4
        for (int t = 0; t < n; t++) {
            __m512 x = _mm512_set1_ps(weight[t][slot]);
#pragma GCC unroll 8
            for (int j = 0; j < v; j++) sum[t][j] = _mm512_fmadd_ps(x, value[j], sum[t][j]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < n; t++)
#pragma GCC unroll 8
        for (int j = 0; j < v; j++) query[t].sum[j] = sum[t][j];
}

/* n tokens, one head. The pages that all of them have in common, as tokens of one row and rows
   with one past do, are read once for all; then each goes on alone. */
INLINE void attend(const int n, const int v, const Call *call, int layer, int token, int head) {
    const Model *model = call->model;
    const int d = model->width, k = v * 16;
    const int64_t offset = ((int64_t)layer * model->heads + head) * HEAD_BYTES(k);
    int8_t *const *pages[QUERIES];
    Query query[QUERIES];
    int last = 0;
    for (int t = 0; t < n; t++) {
        const int32_t row = call->row[token + t];
        pages[t] = call->pages + row * call->page_stride;
        query[t].q = call->wide + (int64_t)(token + t) * 3 * d + head * k;
        query[t].top = -INFINITY;
        query[t].mass = 0.0f;
        query[t].position = call->position[token + t];
        query[t].start = call->start[row];
        for (int j = 0; j < v; j++) query[t].sum[j] = _mm512_setzero_ps();
        if (query[t].position > last) last = query[t].position;
    }
    int base = 0;
    for (; base <= last; base += PAGE) {
        int8_t *page = pages[0][base / PAGE];
        int common = 1;
        for (int t = 1; t < n; t++) common &= pages[t][base / PAGE] == page;
        if (!common) break;
        visit_page(n, v, query, page + offset, base, last);
    }
    for (int t = 0; t < n; t++) {
        for (int at = base; at <= query[t].position; at += PAGE)
            visit_page(1, v, query + t, pages[t][at / PAGE] + offset, at, query[t].position);
        __m512 rate = _mm512_set1_ps(1.0f / query[t].mass);
        float *to = call->mixed + (int64_t)(token + t) * d + head * k;
        for (int j = 0; j < v; j++)
            _mm512_storeu_ps(to + j * 16, _mm512_mul_ps(query[t].sum[j], rate));
    }
}

#define ATTEND(v)                                                                            \
    static __attribute__((noinline)) void attend_##v(const Call *call, int layer, int token, \
                                                     int n, int head) {                      \
        switch (n) {                                                                         \
            case 1: attend(1, v, call, layer, token, head); break;                           \
            case 2: attend(2, v, call, layer, token, head); break;                           \
            case 3: attend(3, v, call, layer, token, head); break;                           \
            default: attend(4, v, call, layer, token, head); break;                          \
        }                                                                                    \
    }
ATTEND(1)
ATTEND(2)
ATTEND(4)
ATTEND(8)

static void attend_any(const Call *call, int layer, int token, int n, int head) {
    switch (call->model->width / call->model->heads) {
        case 16: attend_1(call, layer, token, n, head); break;
        case 32: attend_2(call, layer, token, n, head); break;
        case 64: attend_4(call, layer, token, n, head); break;
        default: attend_8(call, layer, token, n, head); break;
    }
}

/* ---- the decoder ------------------------------------------------------------------------ */

#define PHASES 10 /* of one layer */

/* What a job works on lies behind its counters and lives as long as they do. */
static void *subject(Job *job, int phases) { return &job->phases[phases]; }

static Job *new_job(void (*work)(Job *), int phases, size_t extra) {
    size_t size = (sizeof(Job) + (size_t)phases * sizeof(Phase) + extra + 63) / 64 * 64;
    Job *job = aligned_alloc(64, size);
    if (!job) return NULL;
    memset(job, 0, size);
    job->work = work;
    job->phase_count = phases;
    return job;
}

/* x of wanted tokens moved to the front; they are ascending, so nothing is lost on the way. */
static void compact(const Call *call, int d) {
    for (int i = 0; i < call->wanted_count; i++)
        memmove(call->x + (int64_t)i * d, call->x + (int64_t)call->wanted[i] * d,
                (size_t)d * sizeof(float));
}

static void decode(Job *job) {
    const Call *call = subject(job, job->phase_count);
    const Model *model = call->model;
    const int d = model->width, heads = model->heads, inner = model->inner;
    const Bytes bytes = call->bytes;
    int tokens = call->tokens, phase = 0;
    const int placing = tokens == 1 ? heads : tokens;
    for (int l = 0; l < model->layers; l++) {
        const Layer *layer = &model->layer[l];
        /* Behind the last keys and values, only what is wanted is computed. */
        const int32_t *wanted = l == model->layers - 1 ? call->wanted : NULL;
        FOR_ITEMS (job, phase, tokens, t) {
            float *x = call->x + (int64_t)t * d, *y = call->mixed + (int64_t)t * d;
            layer_norm(x, layer->norm1_scale, layer->norm1_shift, d, model->epsilon, y);
            quantise(y, &layer->qkv, bytes, t);
        }
        settle(job, phase++, tokens);
        multiply(job, phase++, &layer->qkv, 0, layer->qkv.rows / BLOCK, tokens, bytes, STORE,
                 call->wide, 3 * d);
        FOR_ITEMS (job, phase, placing, i) {
            if (tokens == 1)
                place_head(call, l, 0, i);
            else
                for (int h = 0; h < heads; h++) place_head(call, l, i, h);
        }
        settle(job, phase++, placing);
        if (wanted) tokens = call->wanted_count;
        if (!tokens) return;
        const int tasks = wanted ? tokens : call->task_count;
        FOR_ITEMS (job, phase, tasks * heads, i) {
            /* Head by head, so that its pages stay in the cache; late positions, which cost most,
               first. */
            int task = tasks - 1 - i % tasks, head = i / tasks;
            int token = wanted ? wanted[task] : call->tasks[task];
            attend_any(call, l, token, wanted ? 1 : call->tasks[task + 1] - token, head);
        }
        settle(job, phase++, tasks * heads);
        const int moving = wanted != NULL;
        FOR_ITEMS (job, phase, tokens + moving, t) {
            if (t == tokens)
                compact(call, d);
            else
                quantise(call->mixed + (int64_t)(wanted ? wanted[t] : t) * d, &layer->proj, bytes,
                         t);
        }
        settle(job, phase++, tokens + moving);
        multiply(job, phase++, &layer->proj, 0, layer->proj.rows / BLOCK, tokens, bytes, ADD,
                 call->x, d);
        FOR_ITEMS (job, phase, tokens, t) {
            float *x = call->x + (int64_t)t * d, *y = call->mixed + (int64_t)t * d;
            layer_norm(x, layer->norm2_scale, layer->norm2_shift, d, model->epsilon, y);
            quantise(y, &layer->gate_up, bytes, t);
        }
        settle(job, phase++, tokens);
        multiply(job, phase++, &layer->gate_up, 0, layer->gate_up.rows / BLOCK, tokens, bytes,
                 SWIGLU, call->wide, inner);
        FOR_ITEMS (job, phase, tokens, t)
            quantise(call->wide + (int64_t)t * inner, &layer->down, bytes, t);
        settle(job, phase++, tokens);
        multiply(job, phase++, &layer->down, 0, layer->down.rows / BLOCK, tokens, bytes, ADD,
                 call->x, d);
    }
    FOR_ITEMS (job, phase, tokens, t) {
        float *x = call->x + (int64_t)t * d;
        layer_norm(x, model->norm_scale, model->norm_shift, d, model->epsilon, x);
    }
    settle(job, phase, tokens);
}

typedef struct {
    const Matrix *matrix;
    int first, last, tokens;
    const float *x;
    float *out;
    Bytes bytes;
} Product;

static void product(Job *job) {
    const Product *p = subject(job, job->phase_count);
    FOR_ITEMS (job, 0, p->tokens, t)
        quantise(p->x + (int64_t)t * p->matrix->inputs, p->matrix, p->bytes, t);
    settle(job, 0, p->tokens);
    multiply(job, 1, p->matrix, p->first, p->last, p->tokens, p->bytes, STORE, p->out,
             (int64_t)(p->last - p->first) * BLOCK);
}

/* Room for the bytes of n tokens of the widest matrix; scales need at most one per 16 inputs. */
static int make_bytes(Bytes *bytes, int64_t tokens, int64_t inputs) {
    bytes->q = aligned_alloc(64, (size_t)((tokens * inputs + 127) / 64 * 64));
    bytes->scale = malloc((size_t)(tokens * (inputs / 16 + 1)) * sizeof(float));
    bytes->offset = malloc((size_t)(tokens * (inputs / 16 + 1)) * sizeof(int32_t));
    return bytes->q && bytes->scale && bytes->offset ? 0 : -1;
}

static void free_bytes(Bytes bytes) {
    free(bytes.q);
    free(bytes.scale);
    free(bytes.offset);
}

/* ---- what Python calls through ctypes, without the interpreter lock --------------------- */

/* The first of its needs that the processor lacks; NULL where it has them all. */
const char *vnni_lacks(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return "avx2";
    if (!__builtin_cpu_supports("fma")) return "fma";
    if (!__builtin_cpu_supports("avx512f")) return "avx512f";
    if (!__builtin_cpu_supports("avx512bw")) return "avx512bw";
    if (!__builtin_cpu_supports("avx512vl")) return "avx512vl";
    if (!__builtin_cpu_supports("avx512dq")) return "avx512dq";
    if (!__builtin_cpu_supports("avx512vnni")) return "avx512vnni";
    return NULL;
}

EXPORT int vnni_built(void) { return 1; }

Team *vnni_team(int count) {
    Team *team = calloc(1, sizeof *team);
    if (!team) return NULL;
    team->count = count;
    team->threads = calloc((size_t)count, sizeof *team->threads);
    if (!team->threads) {
        free(team);
        return NULL;
    }
    pthread_once(&fork_watched, watch_forks);
    pthread_mutex_init(&team->use, NULL);
    start_members(team);
    pthread_mutex_lock(&teams_lock);
    team->next = teams;
    teams = team;
    pthread_mutex_unlock(&teams_lock);
    return team;
}

void vnni_disband(Team *team) {
    pthread_mutex_lock(&teams_lock);
    for (Team **at = &teams; *at; at = &(*at)->next)
        if (*at == team) {
            *at = team->next;
            break;
        }
    pthread_mutex_unlock(&teams_lock);
    if (team->owner == getpid()) {
        pthread_mutex_lock(&team->use); /* a call in another thread ends first */
        pthread_mutex_unlock(&team->use);
        team->stop = 1;
        publish(team, NULL);
        for (int i = 1; i < team->count; i++) pthread_join(team->threads[i], NULL);
    }
    free(team->threads);
    free(team);
}

/* 0, or -1 without memory. x (N, D) becomes the hidden states after the final norm; where only
   some are wanted, theirs stand in its first rows and the others mean nothing. */
int vnni_decode(Team *team, const Model *model, int tokens, float *x, const int32_t *row,
                const int32_t *position, const int32_t *start, int8_t *const *pages,
                int64_t page_stride, const int32_t *wanted, int wanted_count) {
    const int64_t d = model->width, inner = model->inner;
    const int64_t widest = 3 * d > inner ? 3 * d : inner;
    const int phases = model->layers * PHASES + 1;
    Job *job = new_job(decode, phases, sizeof(Call));
    if (!job) return -1;
    Call *call = subject(job, phases);
    *call = (Call){.model = model,
                   .tokens = tokens,
                   .x = x,
                   .row = row,
                   .position = position,
                   .start = start,
                   .pages = pages,
                   .page_stride = page_stride,
                   .wanted = wanted,
                   .wanted_count = wanted_count};
    float *wide = aligned_alloc(64, (size_t)((tokens * widest * 4 + 127) / 64 * 64));
    float *mixed = aligned_alloc(64, (size_t)((tokens * d * 4 + 127) / 64 * 64));
    int32_t *tasks = malloc((size_t)(tokens + 1) * sizeof *tasks);
    Bytes bytes;
    int result = make_bytes(&bytes, tokens, inner > d ? inner : d);
    if (!result && wide && mixed && tasks) {
        for (int t = 0; t < tokens; t += QUERIES) tasks[call->task_count++] = t;
        tasks[call->task_count] = tokens;
        call->wide = wide;
        call->mixed = mixed;
        call->tasks = tasks;
        call->bytes = bytes;
        run_job(team, job);
    } else {
        result = -1;
        free(job);
    }
    free_bytes(bytes);
    free(wide);
    free(mixed);
    free(tasks);
    return result;
}

/* out (N, 32 (last - first)): blocks first..last of a matrix times x (N, inputs). */
int vnni_product(Team *team, const Matrix *matrix, int first, int last, int tokens, const float *x,
                 float *out) {
    Job *job = new_job(product, 2, sizeof(Product));
    if (!job) return -1;
    Product *p = subject(job, 2);
    *p = (Product){matrix, first, last, tokens, x, out, {0}};
    Bytes bytes;
    int result = make_bytes(&bytes, tokens, matrix->inputs);
    p->bytes = bytes;
    if (!result)
        run_job(team, job);
    else
        free(job);
    free_bytes(bytes);
    return result;
}

/* ---- the decoder of Pianist Transformer ---------------------------------------------------

   RMS norms before and after every block, G query heads to a key head, and attention to the notes
   of a score between self-attention and feed-forward. H query heads, C key heads, K head width.
   Pages are as above with C heads; those of a score hold its notes in place of tokens and have no
   rotation. Of the scores' positions, the first seen[row] are attended to. */

typedef struct {
    Matrix qkv, o, cross_q, cross_o, gate_up, down;
    /* 1 + weight of the norms before and after self-attention, cross-attention, feed-forward */
    const float *norm[6];
} NoteLayer;

typedef struct {
    int32_t width, heads, key_heads, head_width, layers, inner;
    float epsilon, scale;
    const NoteLayer *layer;
    const float *norm;
    const float *cos, *sin; /* (positions, K / 2) */
} NoteModel;

typedef struct {
    const NoteModel *model;
    int tokens;
    float *x;                /* (N, D): embedded in, hidden out */
    const int32_t *row;      /* (N,) */
    const int32_t *position; /* (N,) ascending within a row */
    int8_t *const *pages;    /* (rows, stride) */
    int8_t *const *score;    /* (rows, score_stride) */
    const int32_t *seen;     /* (rows,) */
    int64_t stride, score_stride;
    float *wide;  /* (N, (H + 2 C) K) or (N, F) */
    float *mixed; /* (N, H K) */
    float *y;     /* (N, D) */
    Bytes bytes;
} NoteCall;

INLINE float rms_rate(const float *x, int d, float epsilon) {
    __m512 square = _mm512_setzero_ps();
    for (int i = 0; i < d; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        square = _mm512_fmadd_ps(v, v, square);
    }
    return 1.0f / sqrtf(_mm512_reduce_add_ps(square) / (float)d + epsilon);
}

/* out = x / rms(x) * scale, or added to what is there. */
INLINE void rms_norm(const float *x, const float *scale, int d, float epsilon, float *out,
                     const int add) {
    const __m512 rate = _mm512_set1_ps(rms_rate(x, d, epsilon));
    for (int i = 0; i < d; i += 16) {
        __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), rate);
        v = _mm512_mul_ps(v, _mm512_loadu_ps(scale + i));
        if (add) v = _mm512_add_ps(v, _mm512_loadu_ps(out + i));
        _mm512_storeu_ps(out + i, v);
    }
}

/* Rotary embedding of a key head and its queries; key and value into their page. */
static void place_note(const NoteCall *call, int layer, int token, int head) {
    const NoteModel *m = call->model;
    const int k = m->head_width, half = k / 2, groups = m->heads / m->key_heads;
    const int position = call->position[token];
    const float *cos = m->cos + (int64_t)position * half;
    const float *sin = m->sin + (int64_t)position * half;
    float *q = call->wide + (int64_t)token * (m->heads + 2 * m->key_heads) * k;
    float *key = q + (m->heads + head) * k, *value = key + m->key_heads * k;
    for (int g = 0; g < groups; g++) rotate(q + (head * groups + g) * k, cos, sin, half);
    rotate(key, cos, sin, half);
    store_head(call->pages[call->row[token] * call->stride + position / PAGE], layer, head,
               m->key_heads, k, position % PAGE, key, value);
}

/* n query heads of one token that share a key head, through positions 0..last. */
INLINE void attend_notes(const int n, const int v, const NoteCall *call, int layer, int key_head,
                         float *q, int8_t *const *pages, int last, float *to) {
    const NoteModel *m = call->model;
    const int k = v * 16;
    const int64_t offset = ((int64_t)layer * m->key_heads + key_head) * HEAD_BYTES(k);
    const __m512 scale = _mm512_set1_ps(m->scale);
    Query query[QUERIES];
    for (int t = 0; t < n; t++) {
        for (int j = 0; j < v; j++) {
            float *at = q + t * k + j * 16;
            _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), scale));
            query[t].sum[j] = _mm512_setzero_ps();
        }
        query[t].q = q + t * k;
        query[t].top = -INFINITY;
        query[t].mass = 0.0f;
        query[t].position = last;
        query[t].start = 0;
    }
    for (int base = 0; base <= last; base += PAGE)
        visit_page(n, v, query, pages[base / PAGE] + offset, base, last);
    for (int t = 0; t < n; t++) {
        const __m512 rate = _mm512_set1_ps(1.0f / query[t].mass);
        for (int j = 0; j < v; j++)
            _mm512_storeu_ps(to + t * k + j * 16, _mm512_mul_ps(query[t].sum[j], rate));
    }
}

#define ATTEND_NOTES(v)                                                                       \
    static __attribute__((noinline)) void attend_notes_##v(                                   \
        int n, const NoteCall *call, int layer, int key_head, float *q, int8_t *const *pages, \
        int last, float *to) {                                                                \
        switch (n) {                                                                          \
            case 1: attend_notes(1, v, call, layer, key_head, q, pages, last, to); break;     \
            case 2: attend_notes(2, v, call, layer, key_head, q, pages, last, to); break;     \
            default: attend_notes(4, v, call, layer, key_head, q, pages, last, to); break;    \
        }                                                                                     \
    }
ATTEND_NOTES(1)
ATTEND_NOTES(2)
ATTEND_NOTES(4)
ATTEND_NOTES(8)

/* One token and key head, through its own pages or those of the score; a token's queries lie in a
   row of ``stride`` floats. */
static void attend_own_or_score(const NoteCall *call, int layer, int token, int key_head,
                                int stride, int score) {
    const NoteModel *m = call->model;
    const int k = m->head_width, groups = m->heads / m->key_heads, row = call->row[token];
    float *q = call->wide + (int64_t)token * stride + key_head * groups * k;
    float *to = call->mixed + ((int64_t)token * m->heads + key_head * groups) * k;
    int8_t *const *pages =
        score ? call->score + row * call->score_stride : call->pages + row * call->stride;
    const int last = score ? call->seen[row] - 1 : call->position[token];
    switch (k) {
        case 16: attend_notes_1(groups, call, layer, key_head, q, pages, last, to); break;
        case 32: attend_notes_2(groups, call, layer, key_head, q, pages, last, to); break;
        case 64: attend_notes_4(groups, call, layer, key_head, q, pages, last, to); break;
        default: attend_notes_8(groups, call, layer, key_head, q, pages, last, to); break;
    }
}

#define NOTE_PHASES 15 /* of one layer */

static void decode_notes(Job *job) {
    const NoteCall *call = subject(job, job->phase_count);
    const NoteModel *m = call->model;
    const int d = m->width, k = m->head_width, heads = m->heads, key_heads = m->key_heads;
    const int n = call->tokens, mixed = heads * k, own = (heads + 2 * key_heads) * k;
    const Bytes bytes = call->bytes;
    const float *after = NULL; /* the norm behind the block before */
    int phase = 0;
    /* What stands between two matrices: add what the last one gave, norm, make bytes. */
#define BETWEEN(before, matrix)                                             \
    FOR_ITEMS (job, phase, n, t) {                                          \
        float *x = call->x + (int64_t)t * d, *y = call->y + (int64_t)t * d; \
        if (after) rms_norm(y, after, d, m->epsilon, x, 1);                 \
        rms_norm(x, before, d, m->epsilon, y, 0);                           \
        quantise(y, matrix, bytes, t);                                      \
    }                                                                       \
    settle(job, phase++, n);
#define MULTIPLY(matrix, mode, out, stride) \
    multiply(job, phase++, matrix, 0, (matrix)->rows / BLOCK, n, bytes, mode, out, stride);
#define QUANTISE(from, width, matrix)                                                       \
    FOR_ITEMS (job, phase, n, t) quantise((from) + (int64_t)t * (width), matrix, bytes, t); \
    settle(job, phase++, n);
    for (int l = 0; l < m->layers; l++) {
        const NoteLayer *layer = &m->layer[l];
        BETWEEN(layer->norm[0], &layer->qkv)
        MULTIPLY(&layer->qkv, STORE, call->wide, own)
        FOR_ITEMS (job, phase, n * key_heads, i) place_note(call, l, i / key_heads, i % key_heads);
        settle(job, phase++, n * key_heads);
        FOR_ITEMS (job, phase, n * key_heads, i)
            attend_own_or_score(call, l, n - 1 - i % n, i / n, own, 0);
        settle(job, phase++, n * key_heads);
        QUANTISE(call->mixed, mixed, &layer->o)
        MULTIPLY(&layer->o, STORE, call->y, d)
        after = layer->norm[1];
        BETWEEN(layer->norm[2], &layer->cross_q)
        MULTIPLY(&layer->cross_q, STORE, call->wide, mixed)
        FOR_ITEMS (job, phase, n * key_heads, i)
            attend_own_or_score(call, l, i % n, i / n, mixed, 1);
        settle(job, phase++, n * key_heads);
        QUANTISE(call->mixed, mixed, &layer->cross_o)
        MULTIPLY(&layer->cross_o, STORE, call->y, d)
        after = layer->norm[3];
        BETWEEN(layer->norm[4], &layer->gate_up)
        MULTIPLY(&layer->gate_up, GEGLU, call->wide, m->inner)
        QUANTISE(call->wide, m->inner, &layer->down)
        MULTIPLY(&layer->down, STORE, call->y, d)
        after = layer->norm[5];
    }
    FOR_ITEMS (job, phase, n, t) {
        float *x = call->x + (int64_t)t * d, *y = call->y + (int64_t)t * d;
        rms_norm(y, after, d, m->epsilon, x, 1);
        rms_norm(x, m->norm, d, m->epsilon, y, 0);
        memcpy(x, y, (size_t)d * sizeof(float));
    }
    settle(job, phase, n);
#undef BETWEEN
#undef MULTIPLY
#undef QUANTISE
}

/* Keys and values (C, N, K) of one layer into the pages of a score. */
void vnni_remember(int layer, int key_heads, int k, int notes, const float *keys,
                   const float *values, int8_t *const *pages) {
    for (int head = 0; head < key_heads; head++)
        for (int i = 0; i < notes; i++) {
            int64_t at = ((int64_t)head * notes + i) * k;
            store_head(pages[i / PAGE], layer, head, key_heads, k, i % PAGE, keys + at,
                       values + at);
        }
}

/* 0, or -1 without memory. x (N, D) becomes the hidden states after the final norm. */
int vnni_decode_notes(Team *team, const NoteModel *m, int tokens, float *x, const int32_t *row,
                      const int32_t *position, int8_t *const *pages, int64_t stride,
                      int8_t *const *score, int64_t score_stride, const int32_t *seen) {
    const int64_t own = (int64_t)(m->heads + 2 * m->key_heads) * m->head_width;
    const int64_t widest = own > m->inner ? own : m->inner;
    const int64_t mixed = (int64_t)m->heads * m->head_width;
    const int phases = m->layers * NOTE_PHASES + 1;
    Job *job = new_job(decode_notes, phases, sizeof(NoteCall));
    if (!job) return -1;
    NoteCall *call = subject(job, phases);
    float *floats =
        aligned_alloc(64, (size_t)((tokens * (widest + mixed + m->width) * 4 + 127) / 64 * 64));
    *call = (NoteCall){.model = m,
                       .tokens = tokens,
                       .x = x,
                       .row = row,
                       .position = position,
                       .pages = pages,
                       .stride = stride,
                       .score = score,
                       .score_stride = score_stride,
                       .seen = seen,
                       .wide = floats,
                       .mixed = floats + tokens * widest,
                       .y = floats + tokens * (widest + mixed)};
    int64_t inputs = m->inner > mixed ? m->inner : mixed;
    Bytes bytes;
    int result = make_bytes(&bytes, tokens, inputs > m->width ? inputs : m->width);
    if (!result && floats) {
        call->bytes = bytes;
        run_job(team, job);
    } else {
        result = -1;
        free(job);
    }
    free_bytes(bytes);
    free(floats);
    return result;
}

#pragma GCC pop_options

#else

EXPORT int vnni_built(void) { return 0; }

#endif

/* What this file was compiled by, for whoever asks why the kernel is missing. */
EXPORT const char *vnni_compiler(void) {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#elif defined(_MSC_VER)
    return "MSVC";
#else
    return "an unknown compiler";
#endif
}

/* The module is how setuptools and import find the file; its functions are called by ctypes. */
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_vnni", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__vnni(void) { return PyModule_Create(&definition); }
