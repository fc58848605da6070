// exp, ln, tanh, sigmoid and random numbers: numerics/src/exact/{math,rng}.rs, operation by
// operation. The constants and the series come from there (src/text.rs).

INLINE double exp_f64(double x)
{
    x = x > 700.0 ? 700.0 : x;
    x = x < -700.0 ? -700.0 : x;
    double shifted = x * LOG2_E + ROUND;
    double k = shifted - ROUND;
    double r = (x - k * LN2_HIGH) - k * LN2_LOW;
    double value = 1.0 + (r + r * r * exp_series(r));
    double power = F64_OF_BITS((BITS_OF_F64(shifted) + 1023) << 52);
    return value * power;
}

INLINE double ln_f64(double x)
{
    // x = 2^k · m with m in [sqrt(1/2), sqrt(2)).
    U64 bits = BITS_OF_F64(x) - SQRT_HALF_BITS;
    double k = (double)(int)((I64)bits >> 52);
    double m = F64_OF_BITS((bits & MANTISSA_BITS) + SQRT_HALF_BITS);
    double f = m - 1.0;
    double s = f / (2.0 + f);
    double t = s * s;
    double value = k * LN2_HIGH + (2.0 * s + (2.0 * s * t * ln_series(t) + k * LN2_LOW));
    value = x == F64_OF_BITS(INFINITY_BITS) ? x : value;
    value = x == 0.0 ? -F64_OF_BITS(INFINITY_BITS) : value;
    return x >= 0.0 ? value : F64_OF_BITS(NAN_BITS);
}

INLINE float exp_f32(float x)
{
    return (float)exp_f64((double)x);
}

INLINE float ln_f32(float x)
{
    return (float)ln_f64((double)x);
}

INLINE float tanh_f32(float of)
{
    double x = (double)of;
    double t = x * x;
    // The series, where the quotient below would cancel.
    double small = x * (1.0 + t * (TANH_3 + t * (TANH_5 - t * TANH_7)));
    double e = exp_f64(2.0 * x);
    double large = (e - 1.0) / (e + 1.0);
    return (float)((x < 0.0 ? -x : x) < 0.0625 ? small : large);
}

INLINE float sigmoid_f32(float x)
{
    return (float)(1.0 / (1.0 + exp_f64(-(double)x)));
}

// Draw `index` of the stream with this key and lane: Philox4x32-10.
INLINE U32 draw(U32 key0, U32 key1, U32 lane0, U32 lane1, U32 index)
{
    U32 c0 = index / 4, c1 = 0, c2 = lane0, c3 = lane1;
    for (int round = 0; round < 10; round++) {
        U64 a = (U64)c0 * 0xD2511F53u;
        U64 b = (U64)c2 * 0xCD9E8D57u;
        c0 = (U32)(b >> 32) ^ c1 ^ key0;
        c1 = (U32)b;
        c2 = (U32)(a >> 32) ^ c3 ^ key1;
        c3 = (U32)a;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    U32 lane = index % 4;
    return lane == 0 ? c0 : lane == 1 ? c1 : lane == 2 ? c2 : c3;
}

INLINE float activated(int activation, float x)
{
    if (activation == RELU)
        return x <= 0.0f ? 0.0f : x;
    if (activation == TANH)
        return tanh_f32(x);
    if (activation == SIGMOID)
        return sigmoid_f32(x);
    return x;
}

INLINE Lanes all_activated(int activation, Lanes x)
{
#if LANES == 1
    return activated(activation, x);
#else
    if (activation == IDENTITY)
        return x;
    if (activation == RELU)
        return RELU8(x);
    float one[LANES];
    STORE(x, one);
    for (int i = 0; i < LANES; i++)
        one[i] = activated(activation, one[i]);
    return LOAD(one);
#endif
}
