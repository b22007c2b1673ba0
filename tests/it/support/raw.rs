use std::io::{self, Cursor, Read, Write};
use std::net::{SocketAddr, TcpStream};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::http::{Response, connect};

/// A connection after the handshake, for input that no WebSocket library would send. It sends nothing automatically.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// One frame, exactly as received.
#[derive(Debug)]
pub struct Frame {
    /// FIN, RSV1 to RSV3, opcode and mask.
    pub header: FrameHeader,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code and the reason of a close frame.
    pub fn close(&self) -> (u16, &str) {
        assert_eq!(u8::from(self.header.opcode), 0x8, "{self:?}");
        let code = u16::from_be_bytes(self.payload[..2].try_into().unwrap());
        (code, std::str::from_utf8(&self.payload[2..]).unwrap())
    }
}

impl Raw {
    pub(super) fn new(stream: TcpStream, unread: Vec<u8>) -> Self {
        Self { stream, unread }
    }

    /// A connection without a handshake.
    pub fn connect(address: SocketAddr) -> Self {
        Self::new(connect(address, None), Vec::new())
    }

    /// Writes bytes as they are, to a server that may have hung up.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Writes one masked frame of a text message.
    pub fn write_text(&mut self, text: &str) {
        self.write(&Self::text(text));
    }

    /// The bytes of a masked frame of a text message.
    pub fn text(text: &str) -> Vec<u8> {
        Self::frame(OpCode::Data(Data::Text), text.as_bytes())
    }

    /// The bytes of a final, masked frame.
    pub fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// The head of an HTTP answer; what comes after it is read as frames.
    pub fn read_head(&mut self) -> Response {
        let mut response = Response::read(&mut self.stream);
        self.unread.append(&mut response.body);
        response
    }

    /// The next frame, or nothing at the end of the stream.
    pub fn read(&mut self) -> Option<Frame> {
        loop {
            let mut cursor = Cursor::new(&*self.unread);
            if let Some((header, length)) = FrameHeader::parse(&mut cursor).unwrap() {
                let start = usize::try_from(cursor.position()).unwrap();
                let end = start + usize::try_from(length).unwrap();
                if end <= self.unread.len() {
                    let payload = self.unread[start..end].to_vec();
                    self.unread.drain(..end);
                    return Some(Frame { header, payload });
                }
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).unwrap();
            if read == 0 {
                assert!(self.unread.is_empty(), "the stream ended inside a frame");
                return None;
            }
            self.unread.extend_from_slice(&chunk[..read]);
        }
    }

    /// The connection itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}
