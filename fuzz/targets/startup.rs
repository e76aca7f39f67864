//! Any bytes before a login are packets, a part of one, or refused; a packet of ours says who comes.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use probepilot_api::pg::login::startup;
use probepilot_api::pg::wire::take_packet;

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = BytesMut::from(bytes);
    loop {
        let before = buffer.len();
        match take_packet(&mut buffer) {
            Ok(Some((code, packet))) => {
                assert_eq!(before, buffer.len() + packet.len() + 8, "a packet is as long as it says");
                let _ = startup::check_version((code >> 16, code & 0xffff));
                let options = startup::protocol_options(&packet);
                assert!(options.iter().all(|name| name.starts_with("_pq_.")));
                match startup::read(&packet) {
                    Ok(startup) => {
                        assert!(!startup.user.is_empty() && !startup.database.is_empty());
                        assert!(startup.settings.iter().all(|(name, _)| !name.contains('\0')));
                    }
                    Err(error) => assert!(!error.message.is_empty()),
                }
            }
            Ok(None) => return assert_eq!(before, buffer.len(), "a part of a packet stays"),
            Err(error) => return assert_eq!(error.state.0, "08P01"),
        }
    }
});
