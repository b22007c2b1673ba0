<?php

namespace Yamabiko\Laravel\Tests\Support;

use RuntimeException;

/** A client that speaks JSON in text frames. */
final class WebSocket
{
    private const SECONDS = 60;

    /** @var resource */
    private $stream;

    private string $buffer = '';

    public function __construct(int $port, string $path)
    {
        $stream = stream_socket_client("tcp://127.0.0.1:{$port}");
        $this->stream = $stream ?: throw new RuntimeException('no connection');
        stream_set_timeout($this->stream, self::SECONDS);
        $key = base64_encode(random_bytes(16));
        fwrite($this->stream, "GET {$path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            ."Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {$key}\r\n\r\n");
        while (! str_contains($this->buffer, "\r\n\r\n")) {
            $this->fill();
        }
        [$head, $this->buffer] = explode("\r\n\r\n", $this->buffer, 2);
        if (! str_starts_with($head, 'HTTP/1.1 101')) {
            throw new RuntimeException(strtok($head, "\r\n")." {$this->buffer}");
        }
    }

    /** @param  array<string, mixed>  $message */
    public function send(array $message): void
    {
        $this->frame(0x1, json_encode($message, JSON_THROW_ON_ERROR));
    }

    /**
     * The next message.
     *
     * @return array<string, mixed>
     */
    public function next(): array
    {
        return json_decode($this->nextText(), true, 512, JSON_THROW_ON_ERROR);
    }

    public function nextText(): string
    {
        for (; ;) {
            [$opcode, $payload] = $this->read();
            if ($opcode === 0x1) {
                return $payload;
            }
            if ($opcode === 0x8) {
                throw new RuntimeException('closed with '.unpack('n', $payload."\0\0")[1]);
            }
            if ($opcode === 0x9) {
                $this->frame(0xA, $payload);
            }
        }
    }

    /** Waits for the close frame and returns its code. */
    public function closeCode(): int
    {
        do {
            [$opcode, $payload] = $this->read();
        } while ($opcode !== 0x8);

        return unpack('n', $payload)[1];
    }

    public function close(): void
    {
        fclose($this->stream);
    }

    /** @return array{int, string} */
    private function read(): array
    {
        $head = $this->take(2);
        $length = ord($head[1]) & 0x7F;
        if ($length === 126) {
            $length = unpack('n', $this->take(2))[1];
        } elseif ($length === 127) {
            $length = unpack('J', $this->take(8))[1];
        }

        return [ord($head[0]) & 0x0F, $this->take($length)];
    }

    private function frame(int $opcode, string $payload): void
    {
        $length = strlen($payload);
        $size = $length < 126 ? chr(0x80 | $length) : chr(0x80 | 126).pack('n', $length);
        fwrite($this->stream, chr(0x80 | $opcode).$size."\0\0\0\0".$payload);
    }

    private function take(int $length): string
    {
        while (strlen($this->buffer) < $length) {
            $this->fill();
        }
        $taken = substr($this->buffer, 0, $length);
        $this->buffer = substr($this->buffer, $length);

        return $taken;
    }

    private function fill(): void
    {
        $bytes = fread($this->stream, 65536);
        if ($bytes === false || $bytes === '') {
            throw new RuntimeException('the connection was lost, or nothing came in time');
        }
        $this->buffer .= $bytes;
    }
}
