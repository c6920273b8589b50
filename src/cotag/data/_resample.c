/* Resampling of 8-bit RGB, with the arithmetic of Pillow's Image.resize: the same bytes, by vector instructions.
 *
 * Two passes, first across and then down, each rounding to 8 bits. A weight is a multiple of 2^-22; a pixel of a pass
 * is the sum of weight times pixel, plus one half, shifted and clipped. All sums are of 32-bit integers, so their order
 * changes nothing. Loaded by resampling.py through ctypes, so no header of Python is needed.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__GNUC__)
#error "written for GCC and Clang; without this library Pillow resizes"
#endif

/* Defining PLAIN leaves only what every processor has. */
#if defined(__x86_64__) && !defined(PLAIN)
#include <immintrin.h>
#define HAS_AVX2 __builtin_cpu_supports("avx2")
#define AVX2 __attribute__((target("avx2")))
#endif

#define BITS 22
#define HALF (1 << (BITS - 1))
#define PAD 64 /* bytes after a row that vectors may read and write */
#define PI 3.14159265358979323846

enum { BILINEAR = 2, BICUBIC = 3, LANCZOS = 1 }; /* as Pillow numbers them */

/* For each output place the first input place, how many, and their weights. */
typedef struct {
    int most;
    int *first, *count;
    int32_t *weights;
} Taps;

static double bilinear(double x) {
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

static double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= PI;
    return sin(x) / x;
}

static double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

static void forget(Taps *taps) {
    free(taps->first);
    free(taps->count);
    free(taps->weights);
}

/* The taps from [from, to) of in_size places to out_size places; 0 where there is no memory.
 *
 * The ends are single precision, as Pillow takes a box. */
static int find_taps(Taps *taps, int in_size, float from, float to, int out_size, int kind) {
    double (*filter)(double) = kind == BILINEAR ? bilinear : kind == BICUBIC ? bicubic : lanczos;
    const double scale = (double)(to - from) / out_size, stretch = scale < 1.0 ? 1.0 : scale;
    const double reach = (kind == BILINEAR ? 1.0 : kind == BICUBIC ? 2.0 : 3.0) * stretch, shrink = 1.0 / stretch;
    const int most = (int)ceil(reach) * 2 + 1;
    double *values = malloc(sizeof(double) * (size_t)most);
    taps->most = most;
    taps->first = malloc(sizeof(int) * (size_t)out_size);
    taps->count = malloc(sizeof(int) * (size_t)out_size);
    taps->weights = malloc(sizeof(int32_t) * (size_t)out_size * (size_t)most);
    if (!values || !taps->first || !taps->count || !taps->weights) {
        free(values);
        return 0;
    }
    for (int place = 0; place < out_size; place++) {
        const double center = from + (place + 0.5) * scale;
        double sum = 0.0;
        int first = (int)(center - reach + 0.5), end = (int)(center + reach + 0.5);
        if (first < 0) first = 0;
        if (end > in_size) end = in_size;
        const int count = end - first;
        for (int tap = 0; tap < count; tap++) {
            values[tap] = filter((tap + first - center + 0.5) * shrink);
            sum += values[tap];
        }
        taps->first[place] = first;
        taps->count[place] = count;
        for (int tap = 0; tap < count; tap++) {
            const double value = (sum != 0.0 ? values[tap] / sum : values[tap]) * (1 << BITS);
            taps->weights[(ptrdiff_t)place * most + tap] = (int32_t)(value < 0 ? value - 0.5 : value + 0.5);
        }
    }
    free(values);
    return 1;
}

static uint8_t clipped(int32_t sum) {
    sum >>= BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* Four rows across: rows[i] to out + i * stride. Of a row one byte more than its pixels is read and written. */
static void across_plain(const uint8_t *const rows[4], uint8_t *out, ptrdiff_t stride, int width, const Taps *taps) {
    for (int row = 0; row < 4; row++)
        for (int x = 0; x < width; x++) {
            const int32_t *weights = taps->weights + (ptrdiff_t)x * taps->most;
            const uint8_t *in = rows[row] + 3 * (ptrdiff_t)taps->first[x];
            int32_t sums[3] = {HALF, HALF, HALF};
            for (int tap = 0; tap < taps->count[x]; tap++)
                for (int color = 0; color < 3; color++) sums[color] += weights[tap] * in[3 * tap + color];
            for (int color = 0; color < 3; color++) out[row * stride + 3 * x + color] = clipped(sums[color]);
        }
}

/* One row down: bytes of out from count rows, the first at in. */
static void down_plain(const uint8_t *in, ptrdiff_t stride, uint8_t *out, int bytes, const int32_t *weights, int count) {
    for (int at = 0; at < bytes; at += 32) {
        const int end = bytes - at < 32 ? bytes - at : 32;
        int32_t sums[32];
        for (int i = 0; i < 32; i++) sums[i] = HALF;
        for (int tap = 0; tap < count; tap++)
            for (int i = 0; i < end; i++) sums[i] += weights[tap] * in[tap * stride + at + i];
        for (int i = 0; i < end; i++) out[at + i] = clipped(sums[i]);
    }
}

#if defined(AVX2)
AVX2 static inline __m128i four_bytes(const uint8_t *in) {
    int32_t bytes;
    memcpy(&bytes, in, 4);
    return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes));
}

AVX2 static void across_avx2(const uint8_t *const rows[4], uint8_t *out, ptrdiff_t stride, int width,
                             const Taps *taps) {
    for (int x = 0; x < width; x++) {
        const int32_t *weights = taps->weights + (ptrdiff_t)x * taps->most;
        const ptrdiff_t start = 3 * (ptrdiff_t)taps->first[x];
        const int count = taps->count[x];
        const uint8_t *a = rows[0] + start, *b = rows[1] + start, *c = rows[2] + start, *d = rows[3] + start;
        __m128i sum_a = _mm_set1_epi32(HALF), sum_b = sum_a, sum_c = sum_a, sum_d = sum_a;
        for (int tap = 0; tap < count; tap++) {
            const __m128i weight = _mm_set1_epi32(weights[tap]);
            sum_a = _mm_add_epi32(sum_a, _mm_mullo_epi32(four_bytes(a + 3 * tap), weight));
            sum_b = _mm_add_epi32(sum_b, _mm_mullo_epi32(four_bytes(b + 3 * tap), weight));
            sum_c = _mm_add_epi32(sum_c, _mm_mullo_epi32(four_bytes(c + 3 * tap), weight));
            sum_d = _mm_add_epi32(sum_d, _mm_mullo_epi32(four_bytes(d + 3 * tap), weight));
        }
        const __m128i ab = _mm_packus_epi32(_mm_srai_epi32(sum_a, BITS), _mm_srai_epi32(sum_b, BITS));
        const __m128i cd = _mm_packus_epi32(_mm_srai_epi32(sum_c, BITS), _mm_srai_epi32(sum_d, BITS));
        uint8_t pixels[16];
        _mm_storeu_si128((__m128i *)pixels, _mm_packus_epi16(ab, cd));
        for (int row = 0; row < 4; row++) memcpy(out + row * stride + 3 * x, pixels + 4 * row, 4);
    }
}

AVX2 static void down_avx2(const uint8_t *in, ptrdiff_t stride, uint8_t *out, int bytes, const int32_t *weights,
                           int count) {
    int at = 0;
    for (; at + 32 <= bytes; at += 32) {
        __m256i sums[4];
        for (int i = 0; i < 4; i++) sums[i] = _mm256_set1_epi32(HALF);
        for (int tap = 0; tap < count; tap++) {
            const __m256i weight = _mm256_set1_epi32(weights[tap]);
            const uint8_t *from = in + tap * stride + at;
            for (int i = 0; i < 4; i++) {
                const __m256i part = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(from + 8 * i)));
                sums[i] = _mm256_add_epi32(sums[i], _mm256_mullo_epi32(part, weight));
            }
        }
        for (int i = 0; i < 4; i++) sums[i] = _mm256_srai_epi32(sums[i], BITS);
        /* Packing works in halves of 128 bits; the last step brings the groups of 4 bytes into order. */
        __m256i part = _mm256_packus_epi16(_mm256_packus_epi32(sums[0], sums[1]), _mm256_packus_epi32(sums[2], sums[3]));
        part = _mm256_permutevar8x32_epi32(part, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)(out + at), part);
    }
    down_plain(in + at, stride, out + at, bytes - at, weights, count);
}
#endif

/* Rows of width pixels across to out_width; 0 where there is no memory.
 *
 * What is read beyond a row is the next one; beyond the last there may be nothing, so a copy of it is read. */
static int pass_across(const uint8_t *in, ptrdiff_t in_stride, int rows, int width, uint8_t *out, ptrdiff_t stride,
                       int out_width, const Taps *taps) {
    const size_t wide = 3 * (size_t)width;
    uint8_t *last = malloc(wide + PAD), *spare = malloc(4 * (3 * (size_t)out_width + PAD));
    if (!last || !spare) {
        free(last);
        free(spare);
        return 0;
    }
    memcpy(last, in + (rows - 1) * in_stride, wide);
    memset(last + wide, 0, PAD);
    for (int y = 0; y < rows; y += 4) {
        const uint8_t *four[4];
        const ptrdiff_t spare_stride = 3 * (ptrdiff_t)out_width + PAD;
        for (int row = 0; row < 4; row++) four[row] = y + row < rows - 1 ? in + (y + row) * in_stride : last;
#if defined(AVX2)
        if (HAS_AVX2)
            across_avx2(four, spare, spare_stride, out_width, taps);
        else
#endif
            across_plain(four, spare, spare_stride, out_width, taps);
        for (int row = 0; row < 4 && y + row < rows; row++)
            memcpy(out + (y + row) * stride, spare + row * spare_stride, 3 * (size_t)out_width);
    }
    free(last);
    free(spare);
    return 1;
}

/* Rows of bytes down to out_height rows. */
static void pass_down(const uint8_t *in, ptrdiff_t in_stride, uint8_t *out, ptrdiff_t stride, int bytes, int out_height,
                      const Taps *taps) {
    for (int y = 0; y < out_height; y++) {
        const uint8_t *from = in + taps->first[y] * in_stride;
        const int32_t *weights = taps->weights + (ptrdiff_t)y * taps->most;
#if defined(AVX2)
        if (HAS_AVX2) {
            down_avx2(from, in_stride, out + y * stride, bytes, weights, taps->count[y]);
            continue;
        }
#endif
        down_plain(from, in_stride, out + y * stride, bytes, weights, taps->count[y]);
    }
}

/* Resize the box (left, top, right, bottom) of height x width pixels of RGB to out_height x out_width.
 *
 * The strides are the bytes from row to row. down_first: the order of the passes, where both are needed.
 * Returns 0, or 1 where there is no memory.
 */
int cotag_resize(const uint8_t *in, ptrdiff_t in_stride, int height, int width, const float *box, uint8_t *out,
                 ptrdiff_t out_stride, int out_height, int out_width, int kind, int down_first) {
    const int across = out_width != width || box[0] != 0 || box[2] != width;
    const int down = out_height != height || box[1] != 0 || box[3] != height;
    const ptrdiff_t stride = 3 * (ptrdiff_t)(across && down && !down_first ? out_width : width);
    Taps x_taps = {0}, y_taps = {0};
    uint8_t *between = NULL;
    int failed = 1, first = 0, end = height;

    if (!find_taps(&x_taps, width, box[0], box[2], out_width, kind)) goto done;
    if (!find_taps(&y_taps, height, box[1], box[3], out_height, kind)) goto done;
    if (across && down) {
        if (!down_first) {
            first = y_taps.first[0];
            end = y_taps.first[out_height - 1] + y_taps.count[out_height - 1];
        }
        between = malloc((size_t)(stride * (down_first ? out_height : end - first)));
        if (!between) goto done;
    }
    if (across && down && down_first) {
        pass_down(in, in_stride, between, stride, 3 * width, out_height, &y_taps);
        if (!pass_across(between, stride, out_height, width, out, out_stride, out_width, &x_taps)) goto done;
    } else if (across && down) {
        if (!pass_across(in + first * in_stride, in_stride, end - first, width, between, stride, out_width, &x_taps))
            goto done;
        for (int y = 0; y < out_height; y++) y_taps.first[y] -= first;
        pass_down(between, stride, out, out_stride, 3 * out_width, out_height, &y_taps);
    } else if (across) {
        if (!pass_across(in, in_stride, height, width, out, out_stride, out_width, &x_taps)) goto done;
    } else if (down) {
        pass_down(in, in_stride, out, out_stride, 3 * width, out_height, &y_taps);
    } else {
        for (int y = 0; y < height; y++) memcpy(out + y * out_stride, in + y * in_stride, (size_t)stride);
    }
    failed = 0;
done:
    forget(&x_taps);
    forget(&y_taps);
    free(between);
    return failed;
}
