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
#define OVER 13 /* of which they do, at most */
#define PI 3.14159265358979323846

enum { BILINEAR = 2, BICUBIC = 3, LANCZOS = 1 }; /* as Pillow numbers them */

#define LOW_BITS 11
#define MOST_IN_PARTS 4096 /* taps of which the sum of the low parts fits 32 bits */

/* For each output place the first input place, how many, and their weights.
 *
 * Each weight stands in two parts of 16 bits besides, weight = high * 2^11 + low, which one instruction multiplies and
 * adds in pairs; a place has even_most of them, the rest 0. They are missing where there are more than MOST_IN_PARTS.
 */
typedef struct {
    int most, even_most;
    int *first, *count;
    int32_t *weights;
    int16_t *high, *low;
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
    free(taps->high);
    free(taps->low);
}

/* The weights in parts; 0 where there is no memory. */
static int split_weights(Taps *taps, int out_size) {
    const size_t size = (size_t)out_size * (size_t)taps->even_most;
    if (taps->most > MOST_IN_PARTS) return 1;
    taps->high = calloc(size, sizeof(int16_t));
    taps->low = calloc(size, sizeof(int16_t));
    if (!taps->high || !taps->low) return 0;
    for (int place = 0; place < out_size; place++)
        for (int tap = 0; tap < taps->count[place]; tap++) {
            const int32_t weight = taps->weights[(ptrdiff_t)place * taps->most + tap];
            const ptrdiff_t at = (ptrdiff_t)place * taps->even_most + tap;
            taps->high[at] = (int16_t)(weight >> LOW_BITS);
            taps->low[at] = (int16_t)(weight & ((1 << LOW_BITS) - 1));
        }
    return 1;
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
    taps->even_most = (most + 3) / 4 * 4;
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
    return split_weights(taps, out_size);
}

static uint8_t clipped(int32_t sum) {
    sum >>= BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* Four rows across: rows[i] to out + i * stride. Up to OVER bytes behind a row are read and written. */
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
/* Four taps of four rows at a time: of each color the pixels lie side by side, and so do their weights. */
AVX2 static void across_avx2(const uint8_t *const rows[4], uint8_t *out, ptrdiff_t stride, int width,
                             const Taps *taps) {
    const __m256i by_color = _mm256_setr_epi8(0, -1, 3, -1, 6, -1, 9, -1, 1, -1, 4, -1, 7, -1, 10, -1, /* red, green */
                                              2, -1, 5, -1, 8, -1, 11, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i half = _mm256_set1_epi32(HALF);
    for (int x = 0; x < width; x++) {
        const int16_t *high = taps->high + (ptrdiff_t)x * taps->even_most;
        const int16_t *low = taps->low + (ptrdiff_t)x * taps->even_most;
        const ptrdiff_t start = 3 * (ptrdiff_t)taps->first[x];
        const int count = taps->count[x];
        __m256i highs[4], lows[4];
        for (int row = 0; row < 4; row++) highs[row] = lows[row] = _mm256_setzero_si256();
        for (int tap = 0; tap < count; tap += 4) {
            int64_t four_high, four_low;
            memcpy(&four_high, high + tap, 8);
            memcpy(&four_low, low + tap, 8);
            const __m256i by_high = _mm256_set1_epi64x(four_high), by_low = _mm256_set1_epi64x(four_low);
            for (int row = 0; row < 4; row++) {
                const __m128i bytes = _mm_loadu_si128((const __m128i *)(rows[row] + start + 3 * tap));
                const __m256i pixels = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), by_color);
                highs[row] = _mm256_add_epi32(highs[row], _mm256_madd_epi16(pixels, by_high));
                lows[row] = _mm256_add_epi32(lows[row], _mm256_madd_epi16(pixels, by_low));
            }
        }
        for (int row = 0; row < 4; row++)
            highs[row] = _mm256_add_epi32(_mm256_slli_epi32(highs[row], LOW_BITS), lows[row]);
        __m256i ab = _mm256_add_epi32(_mm256_hadd_epi32(highs[0], highs[1]), half);
        __m256i cd = _mm256_add_epi32(_mm256_hadd_epi32(highs[2], highs[3]), half);
        ab = _mm256_packus_epi32(_mm256_srai_epi32(ab, BITS), _mm256_srai_epi32(cd, BITS));
        ab = _mm256_packus_epi16(ab, ab);
        /* Red and green of the four rows are in the lower half, blue and nothing in the upper one. */
        const __m128i pixels = _mm_unpacklo_epi16(_mm256_castsi256_si128(ab), _mm256_extracti128_si256(ab, 1));
        const int32_t four[4] = {_mm_extract_epi32(pixels, 0), _mm_extract_epi32(pixels, 1),
                                 _mm_extract_epi32(pixels, 2), _mm_extract_epi32(pixels, 3)};
        for (int row = 0; row < 4; row++) memcpy(out + row * stride + 3 * x, &four[row], 4);
    }
}

AVX2 static void down_avx2(const uint8_t *in, ptrdiff_t stride, uint8_t *out, int bytes, const int32_t *weights,
                           const int16_t *high, const int16_t *low, int count) {
    const __m256i none = _mm256_setzero_si256();
    int at = 0;
    for (; at + 32 <= bytes; at += 32) {
        __m256i highs[4], lows[4];
        for (int i = 0; i < 4; i++) highs[i] = lows[i] = none;
        for (int tap = 0; tap < count; tap += 2) {
            int32_t two_high, two_low;
            memcpy(&two_high, high + tap, 4);
            memcpy(&two_low, low + tap, 4);
            const __m256i by_high = _mm256_set1_epi32(two_high), by_low = _mm256_set1_epi32(two_low);
            const uint8_t *from = in + tap * stride + at;
            const __m256i one = _mm256_loadu_si256((const __m256i *)from);
            /* A tap without a partner has weight 0 for it. */
            const __m256i two = _mm256_loadu_si256((const __m256i *)(tap + 1 < count ? from + stride : from));
            const __m256i lower = _mm256_unpacklo_epi8(one, two), upper = _mm256_unpackhi_epi8(one, two);
            const __m256i pairs[4] = {_mm256_unpacklo_epi8(lower, none), _mm256_unpackhi_epi8(lower, none),
                                      _mm256_unpacklo_epi8(upper, none), _mm256_unpackhi_epi8(upper, none)};
            for (int i = 0; i < 4; i++) {
                highs[i] = _mm256_add_epi32(highs[i], _mm256_madd_epi16(pairs[i], by_high));
                lows[i] = _mm256_add_epi32(lows[i], _mm256_madd_epi16(pairs[i], by_low));
            }
        }
        for (int i = 0; i < 4; i++) {
            const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(highs[i], LOW_BITS), lows[i]);
            highs[i] = _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(HALF)), BITS);
        }
        /* Unpacking and packing both work in halves of 128 bits, so the bytes are in order again. */
        _mm256_storeu_si256((__m256i *)(out + at), _mm256_packus_epi16(_mm256_packus_epi32(highs[0], highs[1]),
                                                                       _mm256_packus_epi32(highs[2], highs[3])));
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
        if (HAS_AVX2 && taps->high && 3 * width >= OVER)
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
        if (HAS_AVX2 && taps->high) {
            const ptrdiff_t at = (ptrdiff_t)y * taps->even_most;
            down_avx2(from, in_stride, out + y * stride, bytes, weights, taps->high + at, taps->low + at,
                      taps->count[y]);
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
