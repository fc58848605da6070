//! Images that lie on the device, and what frames show of them.

use repro_gpu::Frame;
use repro_numerics::shape::Image;

use super::*;

/// What a frame shows, pixel by pixel.
fn shown(bytes: &[u8], meanings: &[[f32; 256]], image: Image, frame: &Frame) -> Vec<f32> {
    let mut values = Vec::new();
    let ((down, right), (rows, columns)) = (frame.offset, &frame.cut);
    for y in 0..image.height {
        for x in 0..image.width {
            let across = if frame.is_mirrored {
                image.width - 1 - x
            } else {
                x
            };
            let row = usize::try_from(y as i32 + down)
                .ok()
                .filter(|r| *r < image.height);
            let column = usize::try_from(across as i32 + right);
            let column = column.ok().filter(|c| *c < image.width);
            let is_cut = rows.contains(&(y as u32)) && columns.contains(&(x as u32));
            for channel in 0..image.channels {
                let byte = row.zip(column).map_or(0, |(row, column)| {
                    let at = (frame.image as usize * image.height + row) * image.width + column;
                    bytes[at * image.channels + channel]
                });
                let value = meanings[channel][usize::from(byte)];
                values.push(if is_cut { 0.0 } else { value });
            }
        }
    }
    values
}

#[test]
fn frames_show_what_they_say() {
    everywhere(|on| {
        for (height, width, channels) in [(1, 1, 1), (5, 7, 3), (4, 3, 2), (28, 28, 1)] {
            let image = Image {
                height,
                width,
                channels,
            };
            let mut stream = Stream::new(7, "pictures", 0, 0);
            let count = 6;
            let bytes: Vec<u8> = (0..count * image.features())
                .map(|_| stream.next_u32() as u8)
                .collect();
            let meanings: Vec<[f32; 256]> = (0..channels)
                .map(|channel| std::array::from_fn(|b| b as f32 / 255.0 - channel as f32))
                .collect();
            let mut frames: Vec<Frame> = (0..count as u32).rev().map(Frame::whole).collect();
            for _ in 0..40 {
                let mut below = |n: usize| stream.below(n as u32);
                let (top, left) = (below(height), below(width));
                frames.push(Frame {
                    image: below(count),
                    // Beyond the image on every side, and wholly outside of it.
                    offset: (
                        below(2 * height + 3) as i32 - height as i32 - 1,
                        below(2 * width + 3) as i32 - width as i32 - 1,
                    ),
                    is_mirrored: below(2) == 1,
                    cut: (top..top + below(height + 1), left..left + below(width + 1)),
                });
            }
            let pictures = on.device.pictures(&on.pool, &bytes, &meanings, image);
            let pictures = pictures.unwrap().expect("they are few");
            let mut to = on.there(&vec![7.0; frames.len() * image.features()]);
            on.device
                .show(&on.pool, &pictures, &frames, &mut to)
                .unwrap();
            let here: Vec<f32> = frames
                .iter()
                .flat_map(|frame| shown(&bytes, &meanings, image, frame))
                .collect();
            same(&format!("{image:?}"), &on.here(&to), &here);
        }
    });
}
