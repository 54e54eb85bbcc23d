<?php

/**
 * Publish to the pages of your site through a Shaveet push server.
 *
 *     require 'Shaveet.php';
 *     $shaveet = new Shaveet\Client('http://127.0.0.1:8082');
 *     $shaveet->publish('room', ['text' => 'hello']);
 *
 * PHP 7.4 or newer with curl. Ids of clients and names of channels are any UTF-8 text; numbers are the same as their digits.
 */

declare(strict_types=1);

namespace Shaveet;

use stdClass;

/** Anything that went wrong between this application and its Shaveet. */
class ShaveetException extends \RuntimeException
{
}

/** No answer came, also not to the repetitions that were safe. */
class Unavailable extends ShaveetException
{
    /** @var bool The call was sent and may have been carried out all the same. */
    public $maybeDone;

    public function __construct(string $message, bool $maybeDone)
    {
        parent::__construct($message);
        $this->maybeDone = $maybeDone;
    }
}

/** Shaveet does not take calls from here: see --rpc-allow and the token. Its log says why. */
class Forbidden extends ShaveetException
{
}

/** Shaveet has answered that the call failed. The code is that of JSON-RPC 2.0. */
class CallFailed extends ShaveetException
{
    private const KINDS = [
        -32700 => InvalidRequest::class,
        -32600 => InvalidRequest::class,
        -32601 => UnknownMethod::class,
        -32602 => InvalidArguments::class,
        -32001 => UnknownClient::class,
        -32002 => UnknownChannel::class,
        -32003 => LimitReached::class,
        -32004 => BrokerAway::class,
    ];

    public static function of(string $method, int $code, string $message): CallFailed
    {
        $kind = self::KINDS[$code] ?? self::class;
        return new $kind("$method: $message", $code);
    }
}

/** The client is not there: it was never made, was killed, or was away for too long. Make it anew. */
class UnknownClient extends CallFailed
{
}

/** The channel does not exist: nobody has subscribed or published there, or it was freed since. */
class UnknownChannel extends CallFailed
{
}

/** A limit of the server is reached; the message names it. */
class LimitReached extends CallFailed
{
}

/**
 * Where several nodes share one Redis: it does not answer, or refuses; the message says which. If it did not answer the call may have
 * been done: repeat it, publish with an idempotency key.
 */
class BrokerAway extends CallFailed
{
}

/** The arguments are too many, too few, misnamed or of a wrong type. */
class InvalidArguments extends CallFailed
{
}

/** This server has no such method: it is older than this file. */
class UnknownMethod extends CallFailed
{
}

/** What was sent is no call, or larger than the server takes (--max-body). */
class InvalidRequest extends CallFailed
{
}

/** Some calls of a batch failed; the others are done. */
class BatchFailed extends ShaveetException
{
    /** @var array What each call gave, in order: its result, or its ShaveetException. */
    public $results;

    public function __construct(array $results)
    {
        $failed = array_values(array_filter($results, static fn ($result) => $result instanceof ShaveetException));
        $count = count($results);
        parent::__construct(count($failed) . " of $count calls failed, the first so: " . $failed[0]->getMessage());
        $this->results = $results;
    }
}

/** The methods that a Shaveet server has. A client carries them out at once, a batch together with others. */
abstract class Api
{
    /**
     * Makes a client for a page and gives its key, which the page needs to listen; of one that exists, its key. So nobody
     * outside may choose the id: make it unguessable, or check who is logged in.
     *
     * @param string|int $client_id
     * @return string
     */
    public function create_client($client_id)
    {
        return $this->perform('create_client', ['client_id' => $client_id], true);
    }

    /**
     * Gives the client another key. It keeps its place; pages that have the old key are turned away.
     *
     * @param string|int $client_id
     * @return string
     */
    public function rotate_key($client_id)
    {
        return $this->perform('rotate_key', ['client_id' => $client_id], false);
    }

    /**
     * Forgets the client at once: it leaves its channels, and its pages are told that it is gone.
     *
     * @param string|int $client_id
     * @return int 200
     */
    public function kill_client($client_id)
    {
        return $this->perform('kill_client', ['client_id' => $client_id], false);
    }

    /**
     * What is known of a client.
     *
     * @param string|int $client_id
     * @return array here, idle_ms, parked, transports, subscriptions, acknowledged
     */
    public function client_info($client_id)
    {
        return $this->perform('client_info', ['client_id' => $client_id], true);
    }

    /**
     * Ids of clients that begin so, a page at a time.
     *
     * @param int|null $after that of the last page
     * @return array clients; after, which is null behind the last
     */
    public function list_clients(string $prefix = '', ?int $after = null, ?int $limit = null)
    {
        return $this->perform('list_clients', ['prefix' => $prefix, 'after' => $after, 'limit' => $limit], true);
    }

    /**
     * From now on the client gets what is published in the channel; with 'since' => POSITION also what came after that.
     *
     * @param string|int $client_id
     * @param string|int $channel_name
     * @return int 1
     */
    public function subscribe($client_id, $channel_name, array $options = [])
    {
        $params = ['client_id' => $client_id, 'channel_name' => $channel_name, 'options' => (object) $options];
        return $this->perform('subscribe', $params, true);
    }

    /**
     * The client gets no more of what is published in the channel.
     *
     * @param string|int $client_id
     * @param string|int $channel_name
     * @return int 1
     */
    public function unsubscribe($client_id, $channel_name)
    {
        return $this->perform('unsubscribe', ['client_id' => $client_id, 'channel_name' => $channel_name], true);
    }

    /**
     * Subscribes the clients of [channel => [client, ...]]. Stops at the first that is not there.
     *
     * @return int 200
     */
    public function subscribe_many(array $channels)
    {
        return $this->perform('subscribe_many', ['channels' => self::lists($channels)], true);
    }

    /**
     * Unsubscribes the clients of [channel => [client, ...]]. Stops at the first that is not there.
     *
     * @return int 200
     */
    public function unsubscribe_many(array $channels)
    {
        return $this->perform('unsubscribe_many', ['channels' => self::lists($channels)], true);
    }

    /**
     * Unsubscribes all clients of the channel but those in $exclude.
     *
     * @param string|int $channel_name
     * @return int 200
     */
    public function unsubscribe_all_channel($channel_name, array $exclude = [])
    {
        $params = ['channel_name' => $channel_name, 'exclude' => array_values($exclude)];
        return $this->perform('unsubscribe_all_channel', $params, true);
    }

    /**
     * Who is in the channel and here now. Ids with "admin" in them are hidden.
     *
     * @param string|int $channel_name
     * @return string[]
     */
    public function get_channel_clients($channel_name)
    {
        return $this->perform('get_channel_clients', ['channel_name' => $channel_name], true);
    }

    /**
     * The channels to which the client is subscribed.
     *
     * @param string|int $client_id
     * @return string[]
     */
    public function get_client_channels($client_id)
    {
        return $this->perform('get_client_channels', ['client_id' => $client_id], true);
    }

    /**
     * Publishes in a channel: text as it is, anything else as its JSON text. Once, however often it has to be sent.
     *
     * @param string|int $channel
     * @param mixed $data
     * @param array $options 'from', 'exclude' => [client, ...], 'ttl_ms', 'idempotency_key' (one is made for you)
     * @return array id, position
     */
    public function publish($channel, $data, array $options = [])
    {
        $params = ['channel' => $channel, 'data' => $data, 'options' => self::once($options)];
        return $this->perform('publish', $params, true);
    }

    /**
     * Publishes the same in several channels.
     *
     * @param mixed $data
     * @param array $options as in publish
     * @return array[] id and position in each of the channels, in order
     */
    public function broadcast(array $channels, $data, array $options = [])
    {
        $params = ['channels' => array_values($channels), 'data' => $data, 'options' => self::once($options)];
        return $this->perform('broadcast', $params, true);
    }

    /**
     * Publishes as the original Shaveet did; $client_id is the sender. Prefer publish(): an answer that is lost leaves it
     * open whether this has happened, so it is not repeated.
     *
     * @param mixed $client_id
     * @param mixed $message
     * @param string|int $channel_name
     * @return int 1
     */
    public function new_message($client_id, $message, $channel_name, bool $system = false)
    {
        $params = ['client_id' => $client_id, 'message' => $message, 'channel_name' => $channel_name];
        return $this->perform('new_message', $params + ['system' => $system], false);
    }

    /**
     * What the channel holds after a position, or from its beginning: 1000 messages and 256 KiB at most.
     *
     * @param string|int $channel
     * @return array messages, gap, position
     */
    public function history($channel, ?string $since = null, ?int $limit = null)
    {
        return $this->perform('history', ['channel' => $channel, 'since' => $since, 'limit' => $limit], true);
    }

    /**
     * What became of a message of that number for a client.
     *
     * @param string|int $client_id
     * @param string|int $channel
     * @return array state, and what there is to say of it
     */
    public function why($client_id, $channel, int $id)
    {
        return $this->perform('why', ['client_id' => $client_id, 'channel' => $channel, 'id' => $id], true);
    }

    /**
     * What is known of a channel.
     *
     * @param string|int $channel
     * @return array subscribers, active, parked, messages, bytes, next_id, position
     */
    public function channel_info($channel)
    {
        return $this->perform('channel_info', ['channel' => $channel], true);
    }

    /**
     * Names of channels that begin so, a page at a time.
     *
     * @param int|null $after that of the last page
     * @return array channels; after, which is null behind the last
     */
    public function list_channels(string $prefix = '', ?int $after = null, ?int $limit = null)
    {
        return $this->perform('list_channels', ['prefix' => $prefix, 'after' => $after, 'limit' => $limit], true);
    }

    /**
     * Calls any method by its name, such as system.list_methods.
     *
     * @param array $params in order, or by name
     * @param bool $isRepeatable it may be sent again when its answer is lost
     * @return mixed
     */
    public function call(string $method, array $params = [], bool $isRepeatable = false)
    {
        return $this->perform($method, $params, $isRepeatable);
    }

    /** @return mixed */
    abstract protected function perform(string $method, array $params, bool $isRepeatable);

    private static function once(array $options): stdClass
    {
        return (object) ($options + ['idempotency_key' => bin2hex(random_bytes(16))]);
    }

    /** PHP makes numbers of keys that look like numbers, and a list of an array that has 0, 1, 2...: an object it stays. */
    private static function lists(array $channels): stdClass
    {
        return (object) array_map('array_values', $channels);
    }
}

/** A Shaveet server, as the web application sees it. */
class Client extends Api
{
    private const BATCH_CALLS_MAX = 1000;
    private const BATCH_BYTES_MAX = 1 << 20;

    /** @var string */
    private $url;

    /** @var array what is the same for every call */
    private $settings;

    /** @var float */
    private $retryFor;

    /** @var resource|\CurlHandle|null the connection is kept with it */
    private $curl;

    /**
     * @param string $url http://HOST:PORT, or unix:/run/shaveet/rpc.sock
     * @param array $options 'token' => that of --rpc-token-file; 'timeout' => seconds that an answer may take (5);
     *     'retry_for' => seconds for which a call without an answer is sent again, where that is safe (3; 0 is never)
     */
    public function __construct(string $url = 'http://127.0.0.1:8082', array $options = [])
    {
        $extra = array_diff_key($options, ['token' => 0, 'timeout' => 0, 'retry_for' => 0]);
        if ($extra !== []) {
            throw new \InvalidArgumentException('there is no option ' . key($extra));
        }
        $isSocket = strpos($url, 'unix:') === 0;
        if (!$isSocket && !preg_match('~^https?://[^/]~', $url)) {
            throw new \InvalidArgumentException("'$url' is neither http://HOST:PORT nor unix:/PATH");
        }
        $headers = ['Content-Type: application/json', 'Expect:'];
        if (isset($options['token'])) {
            $headers[] = 'Authorization: Bearer ' . $options['token'];
        }
        $this->url = $url;
        $this->retryFor = (float) ($options['retry_for'] ?? 3);
        $this->settings = [
            CURLOPT_URL => $isSocket ? 'http://localhost/' : rtrim($url, '/') . '/',
            CURLOPT_POST => true,
            CURLOPT_HTTPHEADER => $headers,
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT_MS => (int) (1000 * ($options['timeout'] ?? 5)),
            CURLOPT_NOSIGNAL => true,
            CURLOPT_NOPROXY => '*', // a proxy from the environment has no business between the two
        ] + ($isSocket ? [CURLOPT_UNIX_SOCKET_PATH => substr($url, strlen('unix:'))] : []);
    }

    /**
     * Many calls in few requests. They are sent in order when $fill has returned:
     *
     *     $results = $shaveet->batch(function (Shaveet\Batch $batch) {
     *         $batch->publish('room', 'one');
     *         $batch->publish('room', 'two');
     *     });
     *
     * @return array what each call gave, in order
     * @throws BatchFailed if some failed; the others are done all the same
     */
    public function batch(callable $fill): array
    {
        $batch = new Batch();
        $fill($batch);
        $results = [];
        foreach (self::pieces($batch->calls) as [$texts, $methods, $isRepeatable]) {
            $answers = $this->decode($this->send('[' . implode(',', $texts) . ']', $isRepeatable, 'batch'));
            $byId = array_column($answers, null, 'id');
            foreach ($methods as $id => $method) {
                try {
                    $results[] = $this->result($method, $byId[$id] ?? []);
                } catch (ShaveetException $error) {
                    $results[] = $error;
                }
            }
        }
        foreach ($results as $result) {
            if ($result instanceof ShaveetException) {
                throw new BatchFailed($results);
            }
        }
        return $results;
    }

    protected function perform(string $method, array $params, bool $isRepeatable)
    {
        $body = self::encode($method, $params, 1);
        return $this->result($method, $this->decode($this->send($body, $isRepeatable, $method)));
    }

    /** Sends until there is an answer, as long as it may. */
    private function send(string $body, bool $isRepeatable, string $method): string
    {
        $deadline = microtime(true) + $this->retryFor;
        for ($pause = 0.05;; $pause = min(2 * $pause, 1.0)) {
            try {
                return $this->post($body, $isRepeatable, $method);
            } catch (Unavailable $error) {
                $seconds = $pause * random_int(500, 1500) / 1000;
                if (($error->maybeDone && !$isRepeatable) || microtime(true) + $seconds >= $deadline) {
                    throw $error;
                }
                usleep((int) (1e6 * $seconds));
            }
        }
    }

    private function post(string $body, bool $isRepeatable, string $method): string
    {
        $this->curl = $this->curl ?? curl_init();
        curl_setopt_array($this->curl, $this->settings);
        curl_setopt($this->curl, CURLOPT_POSTFIELDS, $body);
        // When a connection that it has kept turns out to be closed, curl sends again without asking.
        curl_setopt($this->curl, CURLOPT_FRESH_CONNECT, !$isRepeatable);
        $answer = curl_exec($this->curl);
        if (!is_string($answer)) {
            $isSent = curl_getinfo($this->curl, CURLINFO_PRETRANSFER_TIME) > 0;
            throw new Unavailable("no answer from $this->url: " . curl_error($this->curl), $isSent);
        }
        $status = curl_getinfo($this->curl, CURLINFO_RESPONSE_CODE);
        if ($status === 200) {
            return $answer;
        }
        $text = trim(substr($answer, 0, 500));
        if ($status === 404) {
            throw new Forbidden("$this->url takes no calls from here, or wants another token (404); its log says why");
        }
        if ($status === 429 || $status >= 500) { // 429 and 503: sent away before it was looked at
            throw new Unavailable("$this->url has no time ($status): $text", $status !== 429 && $status !== 503);
        }
        throw CallFailed::of($method, -32600, "$this->url refuses what was sent ($status): $text");
    }

    /** @return mixed */
    private function result(string $method, array $answer)
    {
        if (isset($answer['error'])) {
            throw CallFailed::of($method, (int) $answer['error']['code'], (string) $answer['error']['message']);
        }
        if (!array_key_exists('result', $answer)) {
            throw CallFailed::of($method, 0, "$this->url answers what was not asked");
        }
        return $answer['result'];
    }

    private function decode(string $answer): array
    {
        $decoded = json_decode($answer, true);
        if (!is_array($decoded)) {
            throw new ShaveetException("$this->url is no Shaveet: it answers " . substr($answer, 0, 100));
        }
        return $decoded;
    }

    private static function encode(string $method, array $params, int $id): string
    {
        $request = ['jsonrpc' => '2.0', 'method' => $method, 'params' => $params, 'id' => $id];
        try {
            return json_encode($request, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION);
        } catch (\JsonException $error) {
            throw CallFailed::of($method, -32602, 'what is to be sent is no JSON: ' . $error->getMessage());
        }
    }

    /** The calls in as few batches as the server's limits allow: their texts, their methods by id, whether they are repeatable. */
    private static function pieces(array $calls): array
    {
        $pieces = [];
        $bytes = 0;
        foreach ($calls as $id => [$method, $params, $isRepeatable]) {
            $text = self::encode($method, $params, $id);
            $last = count($pieces) - 1;
            $isFull = $last < 0 || count($pieces[$last][0]) === self::BATCH_CALLS_MAX
                || $bytes + strlen($text) > self::BATCH_BYTES_MAX;
            if ($isFull) {
                $pieces[++$last] = [[], [], true];
                $bytes = 0;
            }
            $pieces[$last][0][] = $text;
            $pieces[$last][1][$id] = $method;
            $pieces[$last][2] = $pieces[$last][2] && $isRepeatable;
            $bytes += strlen($text) + 1;
        }
        return $pieces;
    }
}

/** Calls that are sent together: see Client::batch(). What its methods return is nothing yet. */
class Batch extends Api
{
    /** @var array[] method, parameters, whether it may be sent again */
    public $calls = [];

    protected function perform(string $method, array $params, bool $isRepeatable)
    {
        $this->calls[] = [$method, $params, $isRepeatable];
        return null;
    }
}
