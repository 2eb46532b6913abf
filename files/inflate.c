/* Zlib streams (RFC 1950) of DEFLATE (RFC 1951), read.
 *
 *   CMF FLG | block ... block | Adler-32 of the output
 *   block:  last? kind |  stored: LEN ~LEN bytes
 *                      |  fixed or dynamic codes: literals 0..255, lengths 257..285 with a distance, 256: the end
 *
 * The caller knows the size of the output; nothing is allocated here. A read never passes the end of the input, a
 * write never the end of the output, a distance never the first byte of the output.
 *
 * Traps
 *   Numbers have their lowest bit first, Huffman codes their highest.
 *   A copy may overlap its source: distance 1 repeats one byte. Bytes are copied one at a time, forward.
 *   The lengths of literal and distance codes are one list: a repeat may run from one into the other.
 *   A code that leaves bit patterns unused is an error, except for one symbol of one bit, or no distance at all.
 *   Length 258 is symbol 285, without extra bits, not 284 with all of them set. */
#include "png.h"

#include <string.h>

enum { MAX_BITS = 15, LITERALS = 288, DISTANCES = 32, CODE_LENGTHS = 19, END = 256 };

typedef struct stream {
    const uint8_t *from; /* [size] */
    size_t size, at;
    uint64_t held; /* `count` bits that are read but not used yet, the next one lowest */
    int count;
    uint8_t *to; /* [capacity] */
    size_t capacity, written;
    const char *problem; /* the first one; NULL: none so far */
} stream;

/* A canonical Huffman code: count[n] symbols have n bits; the symbols are in the order of their codes. */
typedef struct huffman {
    uint16_t count[MAX_BITS + 1], symbol[LITERALS];
} huffman;

static void fail(stream *s, const char *problem)
{
    if (!s->problem) s->problem = problem;
}

/* After the end of the input the bits are 0; using one of them is an error. */
static void refill(stream *s)
{
    for (; s->count <= 56 && s->at < s->size; s->count += 8)
        s->held |= (uint64_t)s->from[s->at++] << s->count;
}

static void drop_bits(stream *s, int n)
{
    if (n > s->count) {
        fail(s, "the compressed data end too early");
        return;
    }
    s->held >>= n;
    s->count -= n;
}

/* n <= 16 bits */
static uint32_t take_bits(stream *s, int n)
{
    if (s->count < n) refill(s);
    uint32_t value = (uint32_t)(s->held & ((1u << n) - 1));
    drop_bits(s, n);
    return value;
}

static void put_byte(stream *s, uint8_t byte)
{
    if (s->written == s->capacity)
        fail(s, "found more pixels than the picture has");
    else
        s->to[s->written++] = byte;
}

/* ------------------------------------------------------------------------------------------------
 * Huffman codes (RFC 1951, 3.2.2) */

/* Builds a code from the length in bits of every symbol, 0 if it is not used. Returns the number of unused codes of
 * MAX_BITS bits; negative if there are more symbols than codes. */
static int make_code(huffman *h, const uint8_t *lengths, int n)
{
    int first[MAX_BITS + 2] = {0}, left = 1 << MAX_BITS;
    memset(h, 0, sizeof *h);
    for (int i = 0; i < n; i++) h->count[lengths[i]]++;
    h->count[0] = 0;
    for (int bits = 1; bits <= MAX_BITS; bits++) {
        left -= h->count[bits] << (MAX_BITS - bits);
        first[bits + 1] = first[bits] + h->count[bits];
    }
    for (int i = 0; i < n; i++)
        if (lengths[i]) h->symbol[first[lengths[i]]++] = (uint16_t)i;
    return left;
}

/* Codes of one length are consecutive; the first one of n + 1 bits is twice the successor of the last one of n bits. */
static int take_symbol(stream *s, const huffman *h)
{
    if (s->count < MAX_BITS) refill(s);
    int code = 0, first = 0, index = 0;
    for (int bits = 1; bits <= MAX_BITS; bits++) {
        code = code << 1 | (int)(s->held >> (bits - 1) & 1);
        if (code - first < h->count[bits]) {
            drop_bits(s, bits);
            return h->symbol[index + code - first];
        }
        index += h->count[bits];
        first = (first + h->count[bits]) << 1;
    }
    fail(s, s->count < MAX_BITS ? "the compressed data end too early" : "found a code that no symbol has");
    return END;
}

static void fixed_codes(huffman *literals, huffman *distances)
{
    uint8_t lengths[LITERALS];
    for (int i = 0; i < LITERALS; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    make_code(literals, lengths, LITERALS);
    memset(lengths, 5, DISTANCES);
    make_code(distances, lengths, DISTANCES);
}

/* lengths [n], by the code of code lengths: 16 repeats the last one, 17 and 18 repeat 0. */
static void take_lengths(stream *s, const huffman *code, uint8_t *lengths, int n)
{
    for (int i = 0; i < n && !s->problem;) {
        int symbol = take_symbol(s, code), times = 1;
        uint8_t length = symbol < 16 ? (uint8_t)symbol : 0;
        if (symbol == 16 && i == 0) fail(s, "found a repeat before the first code length");
        if (symbol == 16 && i > 0) length = lengths[i - 1];
        if (symbol == 16) times = 3 + (int)take_bits(s, 2);
        if (symbol == 17) times = 3 + (int)take_bits(s, 3);
        if (symbol == 18) times = 11 + (int)take_bits(s, 7);
        if (times > n - i) fail(s, "found more code lengths than there are symbols");
        for (; times > 0 && i < n; times--) lengths[i++] = length;
    }
}

/* One symbol of one bit: half of the codes are unused. */
static bool one_symbol(const huffman *h, int left)
{
    return left == 1 << (MAX_BITS - 1) && h->count[1] == 1;
}

/* The codes of a dynamic block (3.2.7). */
static void take_codes(stream *s, huffman *literals, huffman *distances)
{
    static const uint8_t order[CODE_LENGTHS] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                11, 4,  12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[LITERALS + DISTANCES] = {0};
    huffman code;
    int n_literals = 257 + (int)take_bits(s, 5), n_distances = 1 + (int)take_bits(s, 5);
    int n_lengths = 4 + (int)take_bits(s, 4);
    for (int i = 0; i < n_lengths; i++) lengths[order[i]] = (uint8_t)take_bits(s, 3);
    if (n_literals > 286 || n_distances > 30) fail(s, "found more symbols than DEFLATE has");
    if (make_code(&code, lengths, CODE_LENGTHS) != 0) fail(s, "the code of code lengths is not complete");
    if (s->problem) return;
    memset(lengths, 0, CODE_LENGTHS);
    take_lengths(s, &code, lengths, n_literals + n_distances);
    if (lengths[END] == 0) fail(s, "the block's code has no end");
    int left = make_code(literals, lengths, n_literals);
    if (left != 0 && !one_symbol(literals, left)) fail(s, "the code of literals is not complete");
    left = make_code(distances, lengths + n_literals, n_distances);
    if (left != 0 && left != 1 << MAX_BITS && !one_symbol(distances, left))
        fail(s, "the code of distances is not complete");
}

/* ------------------------------------------------------------------------------------------------
 * Blocks */

/* Moves to the next byte: drops the remaining bits, and returns the bytes that were read ahead. */
static void to_byte(stream *s)
{
    drop_bits(s, s->count % 8);
    s->at -= (size_t)s->count / 8;
    s->held = 0;
    s->count = 0;
}

static void stored_block(stream *s)
{
    to_byte(s);
    uint32_t n = take_bits(s, 16), inverse = take_bits(s, 16);
    if (!s->problem && (n ^ inverse) != 0xffff)
        fail(s, "a stored block's length and its inverse do not agree");
    to_byte(s);
    if (s->problem) return;
    if (n > s->size - s->at) {
        fail(s, "the compressed data end too early");
    } else if (n > s->capacity - s->written) {
        fail(s, "found more pixels than the picture has");
    } else {
        memcpy(s->to + s->written, s->from + s->at, n);
        s->written += n;
        s->at += n;
    }
}

/* After a length symbol: copies bytes from `distance` bytes before. */
static void copy_match(stream *s, int symbol, const huffman *distances)
{
    static const uint16_t length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                           31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258},
                          distance_base[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                             33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                             1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    int l = symbol - 257;
    if (l > 28) {
        fail(s, "found a length that DEFLATE does not have");
        return;
    }
    size_t length = length_base[l] + take_bits(s, l < 8 || l == 28 ? 0 : l / 4 - 1);
    int d = take_symbol(s, distances);
    if (d > 29) {
        fail(s, "found a distance that DEFLATE does not have");
        return;
    }
    size_t distance = distance_base[d] + take_bits(s, d < 4 ? 0 : d / 2 - 1);
    if (distance > s->written) fail(s, "found a distance beyond the first byte");
    if (length > s->capacity - s->written) fail(s, "found more pixels than the picture has");
    if (s->problem) return;
    for (size_t end = s->written + length; s->written < end; s->written++)
        s->to[s->written] = s->to[s->written - distance];
}

static void coded_block(stream *s, const huffman *literals, const huffman *distances)
{
    while (!s->problem) {
        int symbol = take_symbol(s, literals);
        if (symbol == END) return;
        if (symbol < END)
            put_byte(s, (uint8_t)symbol);
        else
            copy_match(s, symbol, distances);
    }
}

static void all_blocks(stream *s)
{
    huffman literals, distances;
    for (bool last = false; !last && !s->problem;) {
        last = take_bits(s, 1);
        switch (take_bits(s, 2)) {
        case 0:
            stored_block(s);
            break;
        case 1:
            fixed_codes(&literals, &distances);
            coded_block(s, &literals, &distances);
            break;
        case 2:
            take_codes(s, &literals, &distances);
            coded_block(s, &literals, &distances);
            break;
        default:
            fail(s, "found a block of kind 3");
        }
    }
}

static void zlib_header(stream *s)
{
    uint32_t cmf = take_bits(s, 8), flags = take_bits(s, 8);
    if (s->problem) return;
    if ((cmf & 15) != 8 || cmf >> 4 > 7 || (cmf << 8 | flags) % 31 != 0)
        fail(s, "expected a zlib header, found other bytes");
    else if (flags & 0x20)
        fail(s, "the zlib stream needs a dictionary, which PNG does not have");
}

uint32_t vdm_adler32(const uint8_t *data, size_t n)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

const char *vdm_zlib_read(uint8_t *to, size_t size, const uint8_t *from, size_t n)
{
    stream s = {.from = from, .size = n, .to = to, .capacity = size};
    zlib_header(&s);
    all_blocks(&s);
    if (!s.problem && s.written < size) fail(&s, "found fewer pixels than the picture has");
    to_byte(&s);
    uint32_t sum = 0;
    for (int i = 0; i < 4; i++) sum = sum << 8 | take_bits(&s, 8);
    if (!s.problem && sum != vdm_adler32(to, size)) fail(&s, "the pixels' checksum (Adler-32) is wrong");
    to_byte(&s);
    if (s.at < n) fail(&s, "found more bytes after the compressed data");
    return s.problem;
}

size_t vdm_zlib_read_part(uint8_t *to, size_t capacity, const uint8_t *from, size_t n)
{
    stream s = {.from = from, .size = n, .to = to, .capacity = capacity};
    zlib_header(&s);
    all_blocks(&s);
    return s.written;
}
