/* Zlib streams (RFC 1950) of DEFLATE (RFC 1951), written: one block with the fixed codes.
 *
 *   bytes -> literals, and matches (length, distance) with earlier bytes -> codes -> bits
 *
 * A hash table with one position per slot finds the matches. Pictures of flat colours, such as grids and masks, shrink
 * to a few percent; photographs don't shrink. */
#include "png.h"

enum { HASH_BITS = 13, MIN_MATCH = 4, MAX_MATCH = 258, MAX_DISTANCE = 32768 };

typedef struct bits { /* the lowest bit first */
    uint8_t *to;
    size_t size;
    uint32_t held;
    int count;
} bits;

static void put_bits(bits *b, uint32_t value, int count)
{
    b->held |= value << b->count;
    for (b->count += count; b->count >= 8; b->count -= 8, b->held >>= 8) b->to[b->size++] = (uint8_t)b->held;
}

/* A Huffman code goes highest bit first. */
static void put_code(bits *b, uint32_t code, int count)
{
    uint32_t reversed = 0;
    for (int i = 0; i < count; i++) reversed |= (code >> i & 1) << (count - 1 - i);
    put_bits(b, reversed, count);
}

/* The fixed code of a literal 0..255, the end 256, or a length 257..285. */
static void put_symbol(bits *b, uint32_t symbol)
{
    if (symbol < 144)
        put_code(b, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(b, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(b, symbol - 256, 7);
    else
        put_code(b, 0xc0 + symbol - 280, 8);
}

static int log2_floor(uint32_t v)
{
    int n = 0;
    while (v >>= 1) n++;
    return n;
}

/* A copy of `length` bytes from `distance` bytes before. Each power of two has 4 classes of lengths and 2 of distances;
 * the low bits follow the code of the class. */
static void put_match(bits *b, uint32_t length, uint32_t distance)
{
    uint32_t l = length - 3, d = distance - 1;
    int extra = l < 8 ? 0 : log2_floor(l) - 2;
    if (length == MAX_MATCH) {
        put_symbol(b, 285);
    } else {
        put_symbol(b, 257 + 4 * (uint32_t)extra + (l >> extra));
        put_bits(b, l & ((1u << extra) - 1), extra);
    }
    extra = d < 4 ? 0 : log2_floor(d) - 1;
    put_code(b, 2 * (uint32_t)extra + (d >> extra), 5);
    put_bits(b, d & ((1u << extra) - 1), extra);
}

/* Returns the last position whose four bytes have the hash of those at i, and stores i in its slot. */
static size_t swap_seen(uint32_t *seen, const uint8_t *data, size_t i)
{
    uint32_t four = (uint32_t)data[i] | (uint32_t)data[i + 1] << 8 | (uint32_t)data[i + 2] << 16 |
                    (uint32_t)data[i + 3] << 24;
    uint32_t *slot = &seen[four * 2654435761u >> (32 - HASH_BITS)];
    size_t before = *slot;
    *slot = (uint32_t)i;
    return before;
}

/* data [n] -> to: at most 9 n / 8 + 8 bytes, since a literal takes at most 9 bits, and a match of four
 * bytes or more fewer than its literals. n < 2^32. Returns the bytes written. */
static size_t deflate(uint8_t *to, const uint8_t *data, size_t n)
{
    bits b = {.to = to};
    uint32_t seen[1 << HASH_BITS] = {0};
    put_bits(&b, 1 | 1 << 1, 3); /* the last block; its kind 1: fixed codes */
    for (size_t i = 0; i < n;) {
        size_t length = 0, from = i + MIN_MATCH <= n ? swap_seen(seen, data, i) : i;
        if (from < i && i - from <= MAX_DISTANCE)
            while (length < MAX_MATCH && i + length < n && data[from + length] == data[i + length]) length++;
        if (length < MIN_MATCH) {
            put_symbol(&b, data[i++]);
            continue;
        }
        put_match(&b, (uint32_t)length, (uint32_t)(i - from));
        for (size_t end = i + length; ++i < end;)
            if (i + MIN_MATCH <= n) swap_seen(seen, data, i);
    }
    put_symbol(&b, 256);
    put_bits(&b, 0, 7); /* fills the last byte */
    return b.size;
}

size_t vdm_zlib_write(uint8_t *to, const uint8_t *data, size_t n)
{
    to[0] = 0x78; /* deflate, a window of 32 KiB */
    to[1] = 0x01; /* makes the two bytes a multiple of 31 */
    size_t size = 2 + deflate(to + 2, data, n);
    uint32_t sum = vdm_adler32(data, n);
    for (int i = 0; i < 4; i++) to[size++] = (uint8_t)(sum >> (24 - 8 * i));
    return size;
}
