use simple_asn1::{ASN1Block, from_der};

/// When a certificate expires, as Unix time in seconds. `None` if it cannot be read.
pub(super) fn expiry(certificate: &[u8]) -> Option<i64> {
    let blocks = from_der(certificate).ok()?;
    let [ASN1Block::Sequence(_, certificate)] = blocks.as_slice() else { return None };
    let ASN1Block::Sequence(_, fields) = certificate.first()? else { return None };
    // The validity is the only field that consists of two times (RFC 5280, 4.1).
    fields.iter().find_map(|field| match field {
        ASN1Block::Sequence(_, validity) => match validity.as_slice() {
            [_, ASN1Block::UTCTime(_, end) | ASN1Block::GeneralizedTime(_, end)] => {
                Some(end.assume_utc().unix_timestamp())
            }
            _ => None,
        },
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_validity_is_read() {
        for (year, expected) in [(2031, 1_924_992_000), (2061, 2_871_763_200)] {
            let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            assert_eq!(expiry(certificate.der()), Some(expected), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_expiry() {
        for bytes in [
            &b""[..],
            b"nonsense",
            &[0x30, 0x00],
            &[0x30, 0x02, 0x30, 0x00],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(expiry(bytes), None, "{bytes:?}");
        }
    }
}
