// GELU (numerics/src/kernels/gelu.rs, numerics/src/exact/normal.rs, operation by operation).
#define GELU_TANH 1

INLINE double near_f64(double x)
{
    x = x > NORMAL_FAR ? NORMAL_FAR : x;
    return x < -NORMAL_FAR ? -NORMAL_FAR : x;
}

// Φ(x); `bell` gets e^(-x²/2).
INLINE double normal_parts(double x, double *bell)
{
    double a = x < 0.0 ? -x : x;
    *bell = exp_f64(-0.5 * (a * a));
    double s = (a - 4.0) / (a + 4.0);
    double tail = *bell * mills_series(s) / (1.0 + a);
    return x > 0.0 ? 1.0 - tail : tail;
}

INLINE double tanh_parts(double x)
{
    double u = TANH_SCALE * (x + TANH_CUBE * (x * x * x));
    return 1.0 / (1.0 + exp_f64(-2.0 * u));
}

INLINE float gelu_of(int which, float of)
{
    double x = (double)of, limited = near_f64(x), bell;
    double factor = x < -NORMAL_FAR ? limited : x;
    return (float)(factor * (which == GELU_TANH ? tanh_parts(limited) : normal_parts(limited, &bell)));
}

INLINE float gelu_slope(int which, float of)
{
    double x = near_f64((double)of);
    if (which == GELU_TANH) {
        double s = tanh_parts(x);
        double du = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * (x * x));
        return (float)(s + x * (s * (1.0 - s)) * (2.0 * du));
    }
    double bell, below = normal_parts(x, &bell);
    return (float)(below + x * (NORMAL_DENSITY * bell));
}

KERNEL gelu(GLOBAL const float *x, GLOBAL float *y, int n, int which)
{
    int i = ELEMENT;
    if (i < n)
        y[i] = gelu_of(which, x[i]);
}

KERNEL gelu_gradient(GLOBAL const float *x, GLOBAL float *dy, int n, int which)
{
    int i = ELEMENT;
    if (i < n)
        dy[i] = 0.0f + dy[i] * gelu_slope(which, x[i]);
}
