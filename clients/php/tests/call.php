<?php

/** One call: php call.php URL TOKEN */

declare(strict_types=1);

require __DIR__ . '/../Shaveet.php';

try {
    $shaveet = new Shaveet\Client($argv[1], ['token' => $argv[2], 'retry_for' => 0]);
    echo $shaveet->publish('room', 'x')['id'], "\n";
} catch (Shaveet\ShaveetException $error) {
    echo get_class($error), ' ', var_export($error->maybeDone ?? null, true), "\n";
}
