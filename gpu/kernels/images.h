// Inputs of a network from images of bytes (stages/src/training/batches.rs).

#define WORDS_OF_FRAME 8

// to[images][height][width][channels]: the images that frames name. A frame has the number of its
// image; whether it is mirrored, left to right, once all else but the square is done; rows and columns
// that the first one of the frame lies below and right of the image's, where byte 0 is outside of the
// image; the first and end rows and columns of a square that becomes 0. Byte b of channel c stands for
// meanings[c][b].
KERNEL show_images(GLOBAL const U32 *images, GLOBAL const float *meanings, GLOBAL const U32 *frames,
                   GLOBAL float *to, int n, int height, int width, int channels)
{
    int i = ELEMENT;
    if (i >= n)
        return;
    int channel = i % channels, x = i / channels % width, y = i / channels / width % height;
    GLOBAL const U32 *frame = frames + i / channels / width / height * WORDS_OF_FRAME;
    int row = y + (int)frame[2], column = (frame[1] ? width - 1 - x : x) + (int)frame[3];
    U32 byte = 0;
    if (row >= 0 && row < height && column >= 0 && column < width) {
        int at = (((int)frame[0] * height + row) * width + column) * channels + channel;
        byte = images[at / 4] >> (at % 4 * 8) & 255u;
    }
    int is_cut = y >= (int)frame[4] && y < (int)frame[5] && x >= (int)frame[6] && x < (int)frame[7];
    to[i] = is_cut ? 0.0f : meanings[channel * 256 + (int)byte];
}
