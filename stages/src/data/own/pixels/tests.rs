use super::*;

/// A file that other programs wrote (`stages/tests/foreign/make.py`).
fn foreign(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/");
    std::fs::read(format!("{dir}{name}")).unwrap()
}

fn read(name: &str, pixels: &Pixels) -> Result<Picture, Failure> {
    let bytes = foreign(name);
    let (mut all, _) = decode_all(&[()], pixels, |()| Ok((name.to_owned(), bytes.clone())))?;
    Ok(all.remove(0))
}

fn plain(name: &str) -> Picture {
    read(name, &Pixels::default()).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    let read = decode_all(&[()], &Pixels::default(), |()| {
        Ok(("x.png".into(), bytes.to_vec()))
    });
    read.unwrap_err().message
}

#[test]
fn png_is_what_pillow_reads() {
    let rgb = plain("rgb.png");
    assert_eq!((rgb.width, rgb.height, rgb.channels), (37, 23, 3));
    assert_eq!(&rgb.bytes[..6], [0, 0, 0, 6, 0, 0]);
    let grey = plain("grey.png");
    assert_eq!(grey.channels, 1);
    assert_eq!(rgb.clone().converted(Mode::Grey).bytes, grey.bytes);
    assert_eq!(grey.bytes, plain("rgb.grey.png").bytes);
    assert_eq!(plain("palette.png").channels, 3);
    let bits = plain("bits.png");
    assert!(
        bits.bytes.iter().all(|&p| p == 0 || p == 255),
        "one bit is all or nothing"
    );
}

/// The bits of the pinned decoder; Pillow's (libjpeg-turbo) are near.
#[test]
fn jpeg_has_frozen_bits_near_those_of_pillow() {
    let frozen = [
        ("rgb.jpg", "aa19002e756da50a"),
        ("sampled.jpg", "58cfeac2d1db9515"),
        ("progressive.jpg", "57b2e43ed989e1e8"),
        ("grey.jpg", "8bfb59fb8c72886c"),
    ];
    let mut wrong = Vec::new();
    for (name, digest) in frozen {
        let (ours, theirs) = (plain(name), plain(&format!("{name}.png")));
        assert_eq!(
            (ours.width, ours.height, ours.channels),
            (theirs.width, theirs.height, theirs.channels)
        );
        let off = |(a, b): (&u8, &u8)| a.abs_diff(*b);
        let worst = ours.bytes.iter().zip(&theirs.bytes).map(off).max().unwrap();
        assert!(worst <= 3, "{name}: off by {worst}");
        let got = blake3::hash(&ours.bytes).to_hex()[..16].to_owned();
        if got != digest {
            wrong.push(format!("(\"{name}\", \"{got}\"), // off by {worst}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "raise the REVISION of `dataset`:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn resizing_gives_the_bytes_of_pillow() {
    for (width, height) in [(16, 16), (50, 9), (37, 40)] {
        let resize = Resize {
            width: Some(width),
            height: Some(height),
            shorter: None,
        };
        let ours = resize.apply(&plain("rgb.png"));
        assert_eq!(
            ours.bytes,
            plain(&format!("rgb.{width}x{height}.png")).bytes,
            "{width}x{height}"
        );
    }
    let shorter = Resize {
        width: None,
        height: None,
        shorter: Some(10),
    };
    let ours = shorter.apply(&plain("rgb.png"));
    assert_eq!((ours.width, ours.height), (16, 10));
    let middle = Size {
        width: 4,
        height: 3,
    };
    let cut = middle.centre_of(&plain("rgb.png")).unwrap();
    // (37 - 4) / 2 = 16.5 is rounded to 16, (23 - 3) / 2 = 10.
    assert_eq!(
        cut.bytes[..3],
        plain("rgb.png").bytes[(10 * 37 + 16) * 3..][..3]
    );
    let large = Size {
        width: 38,
        height: 3,
    };
    assert!(large.centre_of(&plain("rgb.png")).is_err());
}

#[test]
fn what_changes_an_image_is_asked_for() {
    let said = |name: &str| {
        let failure = read(name, &Pixels::default()).unwrap_err();
        format!("{} / {}", failure.message, failure.hint.unwrap_or_default())
    };
    assert!(
        said("alpha.png").contains("alpha.png: it has transparent pixels / say `transparency:")
    );
    assert!(said("sixteen.png").contains("16 bits per channel / say `sixteen_bit: round`"));
    assert!(said("cmyk.jpg").contains("colours of print (CMYK) / convert it to RGB"));
    let over = |how| {
        let pixels = Pixels {
            transparency: Some(how),
            ..Pixels::default()
        };
        read("alpha.png", &pixels).unwrap().bytes
    };
    // The first column of pixels is transparent.
    assert_eq!(over(Transparency::White)[..3], [255; 3]);
    assert_eq!(over(Transparency::Drop), plain("rgb.png").bytes);
    let round = Pixels {
        sixteen_bit: Some(SixteenBit::Round),
        ..Pixels::default()
    };
    // 1700 · 255 / 65535 = 6.6
    assert_eq!(read("sixteen.png", &round).unwrap().bytes[..3], [0, 7, 13]);
}

#[test]
fn a_note_on_orientation_is_followed_only_where_asked() {
    let bytes = foreign("turned.jpg");
    let decode = |orientation| {
        let pixels = Pixels {
            orientation,
            ..Pixels::default()
        };
        decode_all(&[()], &pixels, |()| Ok((String::new(), bytes.clone()))).unwrap()
    };
    let (kept, notes) = decode(Orientation::Ignore);
    assert_eq!((kept[0].width, kept[0].height, notes), (37, 23, 1));
    let (turned, notes) = decode(Orientation::Apply);
    assert_eq!((turned[0].width, turned[0].height, notes), (23, 37, 0));
    // 6: the first row stands in the last column.
    assert_eq!(turned[0].bytes[22 * 3..23 * 3], kept[0].bytes[..3]);
    // Every note and its inverse.
    let picture = plain("rgb.png");
    for (note, back) in [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 5),
        (6, 8),
        (7, 7),
        (8, 6),
    ] {
        assert_eq!(picture.clone().turned(note).turned(back), picture, "{note}");
    }
}

#[test]
fn damaged_files_are_named() {
    for name in ["rgb.png", "rgb.jpg", "progressive.jpg", "grey.jpg"] {
        let bytes = foreign(name);
        for cut in [3, 40, bytes.len() / 2, bytes.len() - 30] {
            let said = refused(&bytes[..cut]);
            assert!(said.contains("x.png: "), "{name} cut to {cut}: {said}");
        }
    }
    let mut flipped = foreign("rgb.png");
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert!(refused(&flipped).contains("cannot be decoded"));
    assert!(refused(b"").contains("it is empty"));
    assert!(refused(b"<html>").contains("a web page"));
    assert!(refused(b"RIFF....WEBP").contains("a WebP; PNG and JPEG are read"));
}

proptest::proptest! {
    #[test]
    fn altered_bytes_never_panic(at in 0usize..1000, byte: u8, which in 0usize..4) {
        let mut bytes = foreign(["rgb.png", "rgb.jpg", "progressive.jpg", "turned.jpg"][which]);
        let i = at % bytes.len();
        bytes[i] = byte;
        let _ = decode_all(&[()], &Pixels::default(), |()| Ok((String::new(), bytes.clone())));
    }
}
