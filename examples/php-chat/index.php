<?php

/**
 * The chat, in PHP: the same page as in ../chat, behind a web application of one file.
 *
 * The page asks this application to join and to speak; this application asks Shaveet. The page itself only ever listens to
 * Shaveet, with the id and the key that it was given here.
 */

declare(strict_types=1);

require __DIR__ . '/../../clients/php/Shaveet.php';

const ROOMS = ['lobby', 'music', 'cooking'];
const NAME_MAX = 20; // characters
const TEXT_MAX = 1000; // characters
const BODY_MAX = 16 * 1024; // bytes
const GONE = 'You are not connected just now. Please try again in a moment.';

/** What the visitor is told: an HTTP status and a text. */
class Refusal extends Exception
{
}

function shaveet(): Shaveet\Client
{
    static $client = null;
    return $client = $client ?? new Shaveet\Client(getenv('SHAVEET_RPC') ?: 'http://127.0.0.1:8082', ['retry_for' => 1]);
}

/** A text of the request's JSON body, trimmed. */
function field(string $name, int $most): string
{
    $body = file_get_contents('php://input', false, null, 0, BODY_MAX + 1);
    if (strlen($body) > BODY_MAX) {
        throw new Refusal('That is too much.', 413);
    }
    // Half an emoji, as a cut string has it, becomes a question mark.
    $value = json_decode($body, true, 8, JSON_INVALID_UTF8_SUBSTITUTE)
        ?? json_decode(preg_replace('/\\\\ud[89a-f][0-9a-f]{2}/i', '?', $body), true, 8);
    $value = is_array($value) && is_string($value[$name] ?? null) ? trim($value[$name]) : '';
    $length = preg_match_all('/./su', $value);
    if ($length < 1 || $length > $most) {
        throw new Refusal("$name: 1 to $most characters, please.", 400);
    }
    return $value;
}

/** The channel of the room that is asked for. */
function room(): string
{
    $name = $_GET['room'] ?? field('room', 20);
    if (!in_array($name, ROOMS, true)) {
        throw new Refusal('There is no such room.', 400);
    }
    return "chat-$name";
}

/** The client that asks, and the channel it is in, proven by its key. Ids are no proof: everybody in a room sees them. */
function member(): array
{
    [$id, $key] = [field('client_id', 100), field('key', 100)];
    $isRoom = static fn (string $channel): bool => strpos($channel, 'chat-') === 0;
    $rooms = array_values(array_filter(shaveet()->get_client_channels($id), $isRoom));
    if ($rooms === []) {
        throw new Refusal(GONE, 410);
    }
    // For a client that exists create_client only tells its key; get_client_channels has made sure that it exists.
    if (!hash_equals(shaveet()->create_client($id), $key)) {
        throw new Refusal('The key is wrong.', 403);
    }
    return [$id, $rooms[0]];
}

function join_room(): array
{
    [$name, $channel] = [field('name', NAME_MAX), room()];
    // Shaveet leaves ids with "admin" out of its lists.
    if (preg_match('/\p{C}/u', $name) || stripos($name, 'admin') !== false) {
        throw new Refusal('Please choose another name.', 400);
    }
    // Never the bare name: create_client hands the key of an existing client to whoever names its id.
    $id = $name . '_' . bin2hex(random_bytes(8));
    [$key, , $talk] = shaveet()->batch(static function (Shaveet\Batch $batch) use ($id, $channel): void {
        $batch->create_client($id);
        $batch->subscribe($id, $channel);
        $batch->history($channel);
    });
    // What the page gets from Shaveet begins with its own arrival: what was said before that is the history.
    $before = [];
    foreach ($talk['messages'] as $message) {
        if ($message['from'] === $id) {
            break;
        }
        if (!$message['system']) {
            $before[] = ['from' => $message['from'], 'data' => $message['data']];
        }
    }
    return ['client_id' => $id, 'key' => $key, 'channel' => $channel, 'history' => $before];
}

function say(): array
{
    // An object, so that no text can pass for one of Shaveet's own messages such as {"type": "unsubscribe"}.
    $message = ['type' => 'say', 'text' => field('text', TEXT_MAX), 'at_ms' => (int) (1000 * microtime(true))];
    [$id, $channel] = member();
    shaveet()->publish($channel, $message, ['from' => $id]);
    return ['said' => true];
}

function leave(): array
{
    shaveet()->kill_client(member()[0]);
    return ['left' => true];
}

/** The page of ../chat. */
function page(): string
{
    $host = preg_replace('/:[0-9]+$/', '', $_SERVER['HTTP_HOST'] ?? '127.0.0.1');
    $values = [
        '{{ shaveet_url }}' => rtrim(getenv('SHAVEET_URL') ?: "http://$host:8082", '/'),
        '{{ rooms }}' => implode(' ', ROOMS),
        '{{ name_max }}' => (string) NAME_MAX,
        '{{ text_max }}' => (string) TEXT_MAX,
    ];
    return strtr(file_get_contents(__DIR__ . '/../chat/templates/index.html'), array_map('htmlspecialchars', $values));
}

function answer(int $status, string $type, string $body): void
{
    http_response_code($status);
    header("Content-Type: $type; charset=utf-8");
    echo $body;
}

const STATIC_FILES = ['/static/app.js' => 'text/javascript', '/static/style.css' => 'text/css'];
const ROUTES = ['GET /here' => 'here', 'POST /join' => 'join_room', 'POST /say' => 'say', 'POST /leave' => 'leave'];

function here(): array
{
    return shaveet()->get_channel_clients(room());
}

function respond(string $method, string $path): void
{
    if ($method === 'GET' && $path === '/') {
        answer(200, 'text/html', page());
    } elseif ($method === 'GET' && isset(STATIC_FILES[$path])) {
        answer(200, STATIC_FILES[$path], file_get_contents(__DIR__ . "/../chat$path"));
    } elseif (isset(ROUTES["$method $path"])) {
        answer(200, 'application/json', json_encode(ROUTES["$method $path"](), JSON_THROW_ON_ERROR));
    } else {
        throw new Refusal('There is nothing here.', 404);
    }
}

try {
    respond($_SERVER['REQUEST_METHOD'], parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) ?: '/');
} catch (Refusal $refusal) {
    answer($refusal->getCode(), 'application/json', json_encode(['error' => $refusal->getMessage()]));
} catch (Shaveet\UnknownClient $error) {
    answer(410, 'application/json', json_encode(['error' => GONE]));
} catch (Shaveet\ShaveetException $error) {
    error_log($error->getMessage());
    answer(503, 'application/json', json_encode(['error' => 'The push server does not answer.']));
}
